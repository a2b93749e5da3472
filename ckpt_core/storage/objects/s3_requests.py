"""Questions to one bucket, through s3fs's client.

Asked again where that may help, their failures in our words.
"""

from collections.abc import Iterator
from typing import Any

from ckpt_core.storage.objects.s3_direct import NotDirectError, put
from ckpt_core.storage.objects.store_clock import StoreClock
from ckpt_core.storage.objects.write_failures import as_write_error
from ckpt_core.storage.remote.clients import quiet
from ckpt_core.storage.remote.failures import as_ckpt_error
from ckpt_core.storage.remote.filesystems import ask
from ckpt_core.storage.remote.retries import error_code, said, status_of


class S3Bucket:
    """A bucket as s3fs reaches it.

    Its session, endpoint, region and settings are the filesystem's.

    Attributes:
        name: Of the bucket.
        url: `s3://name`.
        files: The filesystem.
    """

    def __init__(self, files: Any, name: str) -> None:
        self.files = files
        self.name = name
        self.url = f"s3://{name}"
        self._clock = StoreClock()
        self._seen = False

    def place(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    def call(self, method: str, key: str = "", *, nbytes: int = 0, **parameters: Any) -> dict[str, Any]:
        """Call an operation of the S3 client by its name.

        Failures are as `ObjectStore` says.
        """
        try:
            return self.ask(method, key, nbytes=nbytes, **parameters)
        except Exception as error:
            told = as_ckpt_error if method.startswith("list") else as_write_error
            raise told(error, self.place(key)) from error

    def ask(self, method: str, key: str = "", *, nbytes: int = 0, **parameters: Any) -> dict[str, Any]:
        """Call it with failures as s3fs raises them.

        Callers that tell failures apart use it.
        """
        named = {"Bucket": self.name, **({"Key": key} if key else {}), **parameters}
        answer: dict[str, Any] = ask(self.files, self.files.call_s3, method, nbytes=nbytes, **named)
        self._clock.note(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}))
        self._seen = True
        return answer

    def send(self, method: str, key: str, data: bytes | memoryview, **parameters: Any) -> dict[str, Any]:
        """Send bytes, and return the answer.

        Straight from memory where that can be, else by the client.
        """
        named = {"Bucket": self.name, "Key": key, **parameters}
        try:
            with quiet():
                answer = put(self.files, method, memoryview(data).cast("B"), named)
        except NotDirectError:
            return self.ask(method, key, nbytes=len(data), Body=bytes(data), **parameters)
        self._clock.note(answer["ResponseMetadata"]["HTTPHeaders"])
        self._seen = True
        return answer

    def pages(self, method: str, markers: dict[str, str], **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield every page of a listing.

        `markers` say what of an answer the next question repeats, and as what.
        """
        following: dict[str, Any] = {}
        key = parameters.pop("key", "")
        while True:
            page = self.call(method, key, **parameters, **following)
            yield page
            following = {asked: page[said] for said, asked in markers.items() if page.get(said)}
            if not page.get("IsTruncated") or not following:
                return

    def body(self, key: str, *, nbytes: int = 0, **parameters: Any) -> bytes:
        """Return the content of an object, or a range of it.

        Failures as s3fs raises them.
        """
        return bytes(ask(self.files, self._body, Key=key, nbytes=nbytes, **parameters))

    def _body(self, *, timeout: float, **parameters: Any) -> bytes:
        from fsspec.asyn import sync

        async def content() -> bytes:
            answer = await self.files._call_s3("get_object", Bucket=self.name, **parameters)
            async with answer["Body"] as body:
                return bytes(await body.read())

        return bytes(sync(self.files.loop, content, timeout=timeout))

    def require(self) -> None:
        """Ask once whether the bucket is there.

        That an object is missing does not tell.

        Raises:
            CheckpointNotFoundError: It is not.
        """
        if self._seen:
            return
        try:
            self.ask("list_objects_v2", MaxKeys=1)
        except Exception as error:
            if error_code(error) != "AccessDenied":  # who may read objects need not be allowed to list them
                raise as_ckpt_error(error, self.url) from error
            self._seen = True

    def now(self) -> float:
        """Seconds since 1970 by the store's clock, to a second."""
        if self._clock.is_stale:
            try:
                self.ask("list_objects_v2", MaxKeys=1)
            except Exception as error:
                self._clock.note(said(error).get("ResponseMetadata", {}).get("HTTPHeaders", {}))
                if error_code(error) != "AccessDenied" or self._clock.is_stale:
                    raise as_ckpt_error(error, self.url) from error
        return self._clock.now()


def condition_failed(error: BaseException) -> bool:
    """Return whether a store says that a condition did not hold.

    Its spellings differ.
    """
    return status_of(error) == 412 or error_code(error) == "PreconditionFailed" or isinstance(error, FileExistsError)
