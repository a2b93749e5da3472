"""Folders of a test's own on the servers that a run shares."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of this test's own in a bucket.

    Attributes:
        url: `s3://bucket/folder` or `gs://bucket/folder`.
        env: What a process needs to reach it; this one has it already.
    """

    url: str
    env: dict[str, str]

    @property
    def filesystem(self) -> Any:
        """A client of its own, which has noted nothing and asks the server of `env`, whatever this process's says."""
        if self.url.startswith("gs://"):
            import gcsfs

            place = self.env["STORAGE_EMULATOR_HOST"]
            return gcsfs.GCSFileSystem(endpoint_url=place, token="anon", skip_instance_cache=True)
        import s3fs

        return s3fs.S3FileSystem(
            key=self.env["AWS_ACCESS_KEY_ID"],
            secret=self.env["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=self.env["AWS_ENDPOINT_URL_S3"],
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def make_bucket(self, name: str) -> None:
        """Make another bucket on the server, where it is not there yet."""
        client = self.filesystem
        if not client.exists(name):
            client.mkdir(name)

    def put(self, name: str, data: bytes) -> str:
        """Store an object; its URL."""
        self.filesystem.pipe_file(f"{self.url}/{name}", data)
        return f"{self.url}/{name}"

    def names(self) -> list[str]:
        """Everything that is in the folder, hidden or not, sorted."""
        below = f"{self.url.partition('://')[2]}/"
        return sorted(path.removeprefix(below) for path in self.filesystem.find(self.url))
