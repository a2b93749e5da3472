"""Questions to one bucket of Google Cloud Storage.

Through gcsfs's client: its session, credentials and settings.

Source: Google Cloud Storage, "JSON API v1".
"""

import json
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from typing import Any

from ckpt_core.errors import CheckpointNotFoundError
from ckpt_core.storage.objects.gcs_checksums import checksums_of, is_proved
from ckpt_core.storage.objects.store import StoredObject
from ckpt_core.storage.objects.store_clock import StoreClock
from ckpt_core.storage.objects.write_failures import as_write_error
from ckpt_core.storage.remote.failures import as_ckpt_error
from ckpt_core.storage.remote.filesystems import ask

_OBJECT = "b/{}/o/{}"
_JSON = {"Content-Type": "application/json"}
_BOUNDARY = "ckpt-7c1d5e0b9a"


class GcsBucket:
    """A bucket as gcsfs reaches it.

    Attributes:
        name: Of the bucket.
        url: `gs://name`.
        files: The filesystem.
    """

    def __init__(self, files: Any, name: str) -> None:
        self.name = name
        self.url = f"gs://{name}"
        self.files = files
        self._clock = StoreClock()
        self._seen = False

    def place(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    def failure(self, error: Exception, key: str) -> Exception:
        """Return what gcsfs raised when something was read, in our words."""
        return as_ckpt_error(error, self.place(key))

    def write_failure(self, error: Exception, key: str) -> Exception:
        """The same of something that was written or removed."""
        return as_write_error(error, self.place(key))

    def object(self, key: str) -> dict[str, Any]:
        """Return what the store says of an object.

        Failures as gcsfs raises them.
        """
        return self._tree("GET", _OBJECT, self.name, key)

    def content(self, key: str, *, nbytes: int = 0, start: int = 0, end: int | None = None, **asked: Any) -> bytes:
        """Bytes of an object; failures as gcsfs raises them."""
        headers = {} if end is None else {"Range": f"bytes={start}-{end - 1}"}
        return self._ask("GET", _OBJECT, self.name, key, nbytes=nbytes, alt="media", headers=headers, **asked)

    def put(self, key: str, data: bytes | memoryview, **conditions: str) -> dict[str, Any]:
        """Put an object in one request, its checksum in it.

        Failures as gcsfs raises them.
        """
        told = {"name": key, "contentType": "application/octet-stream", **checksums_of(data)}
        head = f"--{_BOUNDARY}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(told)}\r\n"
        head += f"--{_BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\r\n"
        body = b"".join((head.encode(), data, f"\r\n--{_BOUNDARY}--\r\n".encode()))
        kind = {"Content-Type": f"multipart/related; boundary={_BOUNDARY}"}
        place = f"{self.files._location}/upload/storage/v1/b/{self.name}/o"

        def once(*, timeout: float) -> dict[str, Any]:
            named = {"uploadType": "multipart", "headers": kind, "data": _Body(body), **conditions}
            headers, answer = self.files.call("POST", place, **named, timeout=timeout)
            self._clock.note(headers)
            made: dict[str, Any] = json.loads(answer)
            if not is_proved(made, told):  # no server of Google's keeps such bytes, others may
                self.files.call("DELETE", _OBJECT, self.name, key, ifGenerationMatch=made["generation"])
                raise ConnectionError
            return made

        made: dict[str, Any] = self._noted(once, nbytes=len(data))
        return made

    def delete(self, key: str, **conditions: Any) -> None:
        self._ask("DELETE", _OBJECT, self.name, key, **conditions)

    def compose(self, key: str, composed: dict[str, Any], **conditions: Any) -> dict[str, Any]:
        named: dict[str, Any] = {"json": {"kind": "storage#composeRequest", **composed}, "headers": _JSON, **conditions}
        return self._tree("POST", f"{_OBJECT}/compose", self.name, key, **named)

    def rewrite(self, bucket: str, source: str, key: str, *, nbytes: int, **asked: Any) -> dict[str, Any]:
        """Copy an object of a bucket into this one.

        A large one is copied in several steps, each within the deadline.
        """
        named = {"headers": _JSON, **asked}
        while True:
            path = (f"{_OBJECT}/rewriteTo/{_OBJECT}", bucket, source, self.name, key)
            answer = self._tree("POST", *path, nbytes=nbytes, **named)
            if answer["done"]:
                return dict(answer["resource"])
            named["rewriteToken"] = answer["rewriteToken"]

    def pages(self, prefix: str) -> Iterator[list[dict[str, Any]]]:
        """Every page of the objects whose keys begin so."""
        token = None
        while True:
            try:
                page = self._tree("GET", "b/{}/o", self.name, prefix=prefix, pageToken=token)
            except FileNotFoundError:
                raise self._no_bucket() from None
            except Exception as error:
                raise self.failure(error, prefix) from error
            yield page.get("items", [])
            token = page.get("nextPageToken")
            if not token:
                return

    def require(self) -> None:
        """Raise CheckpointNotFoundError where the bucket is missing.

        It is asked once: that an object is missing does not tell.
        """
        if self._seen:
            return
        try:
            self._tree("GET", "b/{}/o", self.name, maxResults=1)
        except FileNotFoundError:
            raise self._no_bucket() from None
        except Exception:
            self._seen = True  # who may read objects need not be allowed to list them

    def now(self) -> float:
        """Seconds since 1970 by the store's clock, to a second."""
        if self._clock.is_stale:
            try:
                self._tree("GET", "b/{}/o", self.name, maxResults=1)
            except FileNotFoundError:
                raise self._no_bucket() from None
            except Exception as error:
                raise self.failure(error, "") from error
        return self._clock.now()

    def _no_bucket(self) -> CheckpointNotFoundError:
        return CheckpointNotFoundError(f"{self.url}: there is no such bucket; check its name, and which store is asked")

    def _tree(self, method: str, path: str, *arguments: str, nbytes: int = 0, **named: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._ask(method, path, *arguments, nbytes=nbytes, **named))
        return answer

    def _ask(self, method: str, path: str, *arguments: str, nbytes: int = 0, **named: Any) -> bytes:
        def once(*, timeout: float) -> bytes:
            headers, answer = self.files.call(method, path, *arguments, **named, timeout=timeout)
            self._clock.note(headers)
            return bytes(answer)

        return bytes(self._noted(once, nbytes=nbytes))

    def _noted(self, once: Any, nbytes: int) -> Any:
        answer = ask(self.files, once, nbytes=nbytes)
        self._seen = True
        return answer


class _Body(BytesIO):
    """A body in pieces that leave the client's loop free.

    A client that asks again reads it again.
    """

    def close(self) -> None:
        pass


def described(found: dict[str, Any]) -> StoredObject:
    """An object as the store describes it; its generation is its version."""
    made = datetime.fromisoformat(found["timeCreated"]).timestamp()
    return StoredObject(found["name"], int(found["size"]), str(found["generation"]), made)
