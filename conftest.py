"""Settings for every test of the repository, and the servers that they share."""

import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no failure: the suite has a time limit a test, and no example is timed.
settings.register_profile("ckpt", deadline=None)
settings.load_profile("ckpt")


@dataclass(frozen=True, slots=True)
class S3:
    """A folder of this test's own in a bucket of a real S3 server.

    Attributes:
        url: `s3://bucket/folder`.
        env: What a process needs to reach it.
    """

    url: str
    env: dict[str, str]

    @property
    def filesystem(self) -> Any:
        """A client of its own, which has noted nothing."""
        import s3fs

        return s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)

    def put(self, name: str, data: bytes) -> str:
        """Store an object; its URL."""
        self.filesystem.pipe_file(f"{self.url}/{name}", data)
        return f"{self.url}/{name}"


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process needs to reach the S3 server of this run, which is started when it is first asked for."""
    root = Path(__file__).parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    from tests.servers.seaweedfs import shared

    base = tmp_path_factory.getbasetemp()
    worker = "PYTEST_XDIST_WORKER" in os.environ
    return shared((base.parent if worker else base) / "seaweedfs", os.getppid() if worker else os.getpid())


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A folder on a real S3 server, and the environment of this process set to reach it."""
    import s3fs

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield S3(f"s3://ckpt/{uuid.uuid4().hex}", s3_environment)
    s3fs.S3FileSystem.clear_instance_cache()
