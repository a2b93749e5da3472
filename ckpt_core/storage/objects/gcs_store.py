"""Google Cloud Storage as a store of objects. Its versions are generations.

An upload is a folder of objects of ours, one a part, which are composed to the object at its end: so parts can come
from several machines, in any order and again, hold no secret, and are no object that anybody takes for the whole.
"""

import re
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, ReplacedError
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.storage.objects.gcs_compose import Composition, uploaded_as
from ckpt_core.storage.objects.gcs_requests import GcsBucket, described
from ckpt_core.storage.objects.settling import holds, part_bytes
from ckpt_core.storage.objects.store import ALWAYS, Condition, ObjectStore, StoredObject, Upload, UploadedPart

_BEGUN = "begun"
_UPLOAD = re.compile(rf"(?:(.*)/)?\.([^/]*){re.escape(MARK)}upload-([0-9a-f]{{32}})/{_BEGUN}", re.DOTALL)
_AT_ONCE = 8
"""Objects deleted at once: each is a request."""


class GCSStore(ObjectStore):
    """A bucket, asked through gcsfs."""

    def __init__(self, files: Any, bucket: str) -> None:
        self._bucket = GcsBucket(files, bucket)
        self.url = self._bucket.url

    def head(self, key: str) -> StoredObject | None:
        found = self._object(key)
        return None if found is None else described(found)

    def find(self, prefix: str) -> Iterator[StoredObject]:
        for page in self._bucket.pages(prefix):
            yield from map(described, page)

    def read(self, key: str, *, version: str | None = None) -> bytes:
        try:
            return self._bucket.content(key, generation=version)
        except FileNotFoundError as error:
            if version is not None:
                raise _replaced(self._bucket.place(key)) from None
            raise self._bucket.failure(error, key) from None
        except Exception as error:
            raise self._bucket.failure(error, key) from error

    def put(self, key: str, data: bytes | memoryview, condition: Condition = ALWAYS) -> StoredObject:
        try:
            return described(self._bucket.put(key, data, **_conditions(condition)))
        except FileExistsError:
            found = self.head(key)
            if found is None or not self._holds(found, data):
                raise self._refused(key) from None
            return found
        except Exception as error:
            raise self._failure(error, key) from error

    def delete(self, keys: Iterable[str]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._delete, keys))

    def delete_version(self, key: str, version: str) -> bool:
        there = self.head(key)  # a server that is not Google's may ignore the condition below
        return there is not None and there.version == version and self._delete(key, ifGenerationMatch=version)

    def part_bytes(self, size: int) -> int:
        return part_bytes(size)

    def begin_upload(self, key: str) -> str:
        upload = uuid.uuid4().hex
        self.put(f"{_folder(key, upload)}{_BEGUN}", b"")
        return upload

    def put_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> UploadedPart:
        put = self.put(f"{_folder(key, upload)}{number:05}", data)
        return UploadedPart(number, put.size, put.version)

    def parts(self, key: str, upload: str) -> list[UploadedPart]:
        folder = _folder(key, upload)
        found = {one.key.removeprefix(folder): one for one in self.find(folder)}
        return [UploadedPart(int(n), one.size, one.version) for n, one in sorted(found.items()) if n.isdecimal()]

    def complete(
        self, key: str, upload: str, parts: Iterable[UploadedPart], condition: Condition = ALWAYS
    ) -> StoredObject:
        named, folder = list(parts), _folder(key, upload)
        there = {(part.number, part.tag) for part in self.parts(key, upload)}
        if not all((part.number, part.tag) in there for part in named):
            return self._completed(key, upload)
        try:
            made = Composition(self._bucket, folder).made(key, upload, named, **_conditions(condition))
        except FileExistsError:
            made = self._object(key) or {}
            if uploaded_as(made) != upload:
                raise self._refused(key) from None
        except Exception as error:
            raise self._failure(error, key) from error
        self.abort(key, upload)
        return described(made)

    def abort(self, key: str, upload: str) -> None:
        folder = _folder(key, upload)
        left = [one.key for one in self.find(folder)]
        self.delete(one for one in left if not one.endswith(f"/{_BEGUN}"))
        self.delete(one for one in left if one.endswith(f"/{_BEGUN}"))  # last: by it an upload is found

    def uploads(self, prefix: str) -> Iterator[Upload]:
        folder = prefix[: prefix.rfind("/") + 1]
        for one in self.find(folder):
            found = _UPLOAD.fullmatch(one.key)
            if found:
                key = f"{found[1]}/{found[2]}" if found[1] is not None else found[2]
                if key.startswith(prefix):
                    yield Upload(key, found[3], one.modified)

    def copy(self, source: str, key: str, *, version: str | None = None, of: ObjectStore | None = None) -> StoredObject:
        bucket = of._bucket if isinstance(of, GCSStore) else self._bucket
        there = (of or self).head(source)
        if there is None:
            raise CheckpointNotFoundError(f"{bucket.place(source)}: nothing there; check the name")
        if version not in (None, there.version):
            raise _replaced(bucket.place(source))
        asked = {"sourceGeneration": there.version, "ifSourceGenerationMatch": there.version}
        try:
            return described(self._bucket.rewrite(bucket.name, source, key, nbytes=there.size, **asked))
        except (FileExistsError, FileNotFoundError):
            raise _replaced(bucket.place(source)) from None
        except Exception as error:
            raise self._bucket.write_failure(error, key) from error

    def is_beside(self, other: ObjectStore) -> bool:
        return isinstance(other, GCSStore) and other._bucket.files is self._bucket.files

    def now(self) -> float:
        return self._bucket.now()

    def _object(self, key: str) -> dict[str, Any] | None:
        try:
            return self._bucket.object(key)
        except FileNotFoundError:
            self._bucket.require()
            return None
        except Exception as error:
            raise self._bucket.failure(error, key) from error

    def _delete(self, key: str, **conditions: str) -> bool:
        try:
            self._bucket.delete(key, **conditions)
        except FileNotFoundError:
            return False
        except Exception as error:
            if conditions and isinstance(error, FileExistsError):  # a policy's 412 is no answer to a condition
                return False
            raise self._bucket.write_failure(error, key) from error
        return True

    def _holds(self, found: StoredObject, data: bytes | memoryview) -> bool:
        def read(start: int, end: int) -> bytes:
            return self._bucket.content(found.key, start=start, end=end, generation=found.version)

        try:
            return holds(found.size, data, read)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._bucket.failure(error, found.key) from error

    def _completed(self, key: str, upload: str) -> StoredObject:
        """Return the object of an upload whose parts are gone.

        It must be made of them: then the first answer was lost.
        """
        found = self._object(key)
        if found is None or uploaded_as(found) != upload:
            raise CheckpointNotFoundError(f"{self._bucket.place(key)}: parts of its upload are gone; run it again")
        self.abort(key, upload)
        return described(found)

    def _failure(self, error: Exception, key: str) -> Exception:
        if isinstance(error, FileNotFoundError):
            self._bucket.require()
        return self._bucket.write_failure(error, key)

    def _refused(self, key: str) -> ConditionFailedError:
        return ConditionFailedError(f"{self._bucket.place(key)}: another writer was there first")


def _replaced(place: str) -> ReplacedError:
    return ReplacedError(f"{place}: was replaced while it was read; run it again")


def _folder(key: str, upload: str) -> str:
    """Return the prefix of the keys of an upload's parts.

    They lie beside the object, hidden as all that we put beside a checkpoint.
    """
    folder, _, name = key.rpartition("/")
    return f"{folder}{'/' if folder else ''}.{name}{MARK}upload-{upload}/"


def _conditions(condition: Condition) -> dict[str, str]:
    if condition.absent:
        return {"ifGenerationMatch": "0"}
    return {} if condition.version is None else {"ifGenerationMatch": condition.version}
