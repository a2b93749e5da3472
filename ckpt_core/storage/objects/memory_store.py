"""fsspec's memory filesystem as a store of objects.

It ends with the process, and serves tests and trying out.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import xxhash

from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, ReplacedError
from ckpt_core.schema.text import printable
from ckpt_core.storage.objects.store import (
    ALWAYS,
    Condition,
    ObjectStore,
    StoredObject,
    Upload,
    UploadedPart,
)

_lock = threading.RLock()
_uploads: dict[str, tuple[str, float, dict[int, bytes]]] = {}
"""By id: the key, when it began, and its parts."""

_completed: dict[str, StoredObject] = {}
"""By id: what an upload became."""


class MemoryStore(ObjectStore):
    """The process's one memory filesystem."""

    url = "memory://"

    def __init__(self) -> None:
        from fsspec import filesystem

        self._files: Any = filesystem("memory")

    def head(self, key: str) -> StoredObject | None:
        with _lock:
            found = self._files.store.get(f"/{key}")
            return None if found is None else self._described(key, found)

    def find(self, prefix: str) -> Iterator[StoredObject]:
        with _lock:
            found = [(path[1:], self._files.store[path]) for path in sorted(self._files.store)]
            listed = [self._described(key, file) for key, file in found if key.startswith(prefix)]
        yield from listed

    def read(self, key: str, *, version: str | None = None) -> bytes:
        with _lock:
            found = self._files.store.get(f"/{key}")
            if found is None:
                raise CheckpointNotFoundError(f"memory://{printable(key)}: nothing there; check the name")
            if version not in (None, self._described(key, found).version):
                raise ReplacedError(f"memory://{printable(key)}: was replaced while it was read; run it again")
            return bytes(found.getvalue())

    def put(self, key: str, data: bytes | memoryview, condition: Condition = ALWAYS) -> StoredObject:
        with _lock:
            there = self.head(key)
            wrong = condition.absent and there is not None
            if wrong or (condition.version is not None and (there is None or there.version != condition.version)):
                if there is not None and self.read(key) == data:
                    return there
                raise ConditionFailedError(f"memory://{printable(key)}: another writer was there first")
            self._files.pipe_file(f"/{key}", bytes(data))
            return self._described(key, self._files.store[f"/{key}"])

    def delete(self, keys: Iterable[str]) -> None:
        with _lock:
            for key in keys:
                self._files.store.pop(f"/{key}", None)

    def delete_version(self, key: str, version: str) -> bool:
        with _lock:
            there = self.head(key)
            if there is None or there.version != version:
                return False
            self.delete([key])
            return True

    def part_bytes(self, size: int) -> int:
        return 8 << 20

    def begin_upload(self, key: str) -> str:
        with _lock:
            upload = f"upload-{time.monotonic_ns()}-{len(_uploads)}"
            _uploads[upload] = (key, time.time(), {})
            return upload

    def put_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> UploadedPart:
        with _lock:
            _uploads[upload][2][number] = bytes(data)
        return UploadedPart(number, len(data), xxhash.xxh3_64_hexdigest(data))

    def parts(self, key: str, upload: str) -> list[UploadedPart]:
        with _lock:
            kept = sorted(_uploads.get(upload, ("", 0.0, {}))[2].items())
        return [UploadedPart(number, len(data), xxhash.xxh3_64_hexdigest(data)) for number, data in kept]

    def complete(
        self, key: str, upload: str, parts: Iterable[UploadedPart], condition: Condition = ALWAYS
    ) -> StoredObject:
        with _lock:
            if upload in _completed:
                return _completed[upload]
            if upload not in _uploads:
                raise CheckpointNotFoundError(f"memory://{printable(key)}: there is no such upload; run it again")
            made = self.put(key, b"".join(_uploads[upload][2][part.number] for part in parts), condition)
            del _uploads[upload]
            _completed[upload] = made
            return made

    def abort(self, key: str, upload: str) -> None:
        with _lock:
            _uploads.pop(upload, None)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        with _lock:
            listed = [Upload(key, id, started) for id, (key, started, _) in _uploads.items()]
        yield from (one for one in listed if one.key.startswith(prefix))

    def copy(self, source: str, key: str, *, version: str | None = None, of: ObjectStore | None = None) -> StoredObject:
        with _lock:
            return self.put(key, self.read(source, version=version))

    def now(self) -> float:
        return time.time()

    def _described(self, key: str, file: Any) -> StoredObject:
        # No two are made in the same microsecond; a listing says it of a file too, so that a seal can be held to it.
        return StoredObject(key, len(file.getbuffer()), str(file.created.timestamp()), file.modified.timestamp())
