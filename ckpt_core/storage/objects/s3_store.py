"""S3 and what speaks its protocol as a store of objects.

Bytes are proved by a CRC-32 that the store compares before it keeps them. A store that does not know of that gives the
MD5 of what it has as the ETag; where it gives neither, the object is put again with the MD5 in the question, which
every S3 compares. Source: Amazon S3 API reference, "PutObject", "UploadPart", "CompleteMultipartUpload".
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, NoAnswerError, ReplacedError
from ckpt_core.storage.objects.s3_checksums import checksum_of, etag_of_parts, is_proved, md5_of, quoted
from ckpt_core.storage.objects.s3_requests import S3Bucket, condition_failed
from ckpt_core.storage.objects.settling import holds, part_bytes
from ckpt_core.storage.objects.store import (
    ALWAYS,
    Condition,
    ObjectStore,
    StoredObject,
    Upload,
    UploadedPart,
)
from ckpt_core.storage.objects.write_failures import as_write_error
from ckpt_core.storage.remote.failures import as_ckpt_error
from ckpt_core.storage.remote.retries import error_code, status_of

_MIB = 1 << 20
_MOST_DELETED = 1_000
_COPIED_WHOLE = 512 * _MIB
"""Most bytes copied by one request: the store could take 5 GiB, and a client would hear nothing of it for minutes."""

_COPIED_PART = 256 * _MIB
_AT_ONCE = 4
"""Parts that the store copies at once."""


class S3Store(ObjectStore):
    """A bucket, asked through s3fs."""

    def __init__(self, files: Any, bucket: str) -> None:
        self._bucket = S3Bucket(files, bucket)
        self.url = self._bucket.url

    def head(self, key: str) -> StoredObject | None:
        try:
            found = self._bucket.ask("head_object", key)
        except Exception as error:
            if status_of(error) != 404 and not isinstance(error, FileNotFoundError):
                raise as_ckpt_error(error, self._bucket.place(key)) from error
            self._bucket.require()
            return None
        return StoredObject(key, found["ContentLength"], quoted(found["ETag"]), found["LastModified"].timestamp())

    def find(self, prefix: str) -> Iterator[StoredObject]:
        following = {"NextContinuationToken": "ContinuationToken"}
        for page in self._bucket.pages("list_objects_v2", following, Prefix=prefix):
            for found in page.get("Contents", ()):
                modified = found["LastModified"].timestamp()
                yield StoredObject(found["Key"], found["Size"], quoted(found["ETag"]), modified)

    def read(self, key: str, *, version: str | None = None) -> bytes:
        try:
            return self._bucket.body(key, **_conditions(Condition(version=version)))
        except Exception as error:
            if version is not None and (condition_failed(error) or isinstance(error, FileNotFoundError)):
                raise _replaced(self._bucket.place(key)) from None
            raise as_ckpt_error(error, self._bucket.place(key)) from error

    def put(self, key: str, data: bytes | memoryview, condition: Condition = ALWAYS) -> StoredObject:
        try:
            answer = self._sent("put_object", key, data, **_conditions(condition))
        except Exception as error:
            return self._settled(error, key, data, condition)
        return StoredObject(key, len(data), quoted(answer["ETag"]), self._bucket.now())

    def delete(self, keys: Iterable[str]) -> None:
        left = iter(keys)
        while batch := [{"Key": key} for key in islice(left, _MOST_DELETED)]:
            answer = self._bucket.call("delete_objects", Delete={"Objects": batch, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise NoAnswerError(f"{self._bucket.place(failed['Key'])}: not deleted ({failed['Code']}); try again")

    def delete_version(self, key: str, version: str) -> bool:
        there = self.head(key)  # not every store keeps to the condition below
        if there is None or there.version != version:
            return False
        try:
            self._bucket.ask("delete_object", key, IfMatch=version)
        except Exception as error:
            if condition_failed(error) or isinstance(error, FileNotFoundError):
                return False
            raise as_write_error(error, self._bucket.place(key)) from error
        return True

    def part_bytes(self, size: int) -> int:
        return part_bytes(size)

    def begin_upload(self, key: str) -> str:
        named: dict[str, Any] = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
        return str(self._bucket.call("create_multipart_upload", key, **named)["UploadId"])

    def put_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> UploadedPart:
        try:
            answer = self._sent("upload_part", key, data, UploadId=upload, PartNumber=number)
        except Exception as error:
            raise as_write_error(error, self._bucket.place(key)) from error
        return UploadedPart(number, len(data), quoted(answer["ETag"]))

    def parts(self, key: str, upload: str) -> list[UploadedPart]:
        following = {"NextPartNumberMarker": "PartNumberMarker"}
        try:
            pages = list(self._bucket.pages("list_parts", following, key=key, UploadId=upload))
        except CheckpointNotFoundError:
            self._bucket.require()
            return []
        return newest_parts(part for page in pages for part in page.get("Parts", ()))

    def complete(
        self, key: str, upload: str, parts: Iterable[UploadedPart], condition: Condition = ALWAYS
    ) -> StoredObject:
        named = list(parts)
        joined = {"Parts": [{"PartNumber": part.number, "ETag": part.tag} for part in named]}
        size = sum(part.size for part in named)
        try:
            answer = self._bucket.ask(
                "complete_multipart_upload", key, UploadId=upload, MultipartUpload=joined, **_conditions(condition)
            )
        except Exception as error:
            return self._completed(error, key, named, size)
        return StoredObject(key, size, quoted(answer["ETag"]), self._bucket.now())

    def abort(self, key: str, upload: str) -> None:
        for _ in range(3):  # parts under way may arrive after it
            try:
                self._bucket.ask("abort_multipart_upload", key, UploadId=upload)
            except FileNotFoundError:
                return  # also what s3fs makes of NoSuchUpload
            except Exception as error:
                if error_code(error) == "NoSuchUpload":
                    return
                raise as_write_error(error, self._bucket.place(key)) from error
            if not self.parts(key, upload):
                return

    def uploads(self, prefix: str) -> Iterator[Upload]:
        following = {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"}
        for page in self._bucket.pages("list_multipart_uploads", following, Prefix=prefix):
            for found in page.get("Uploads", ()):
                yield Upload(found["Key"], found["UploadId"], found["Initiated"].timestamp())

    def copy(self, source: str, key: str, *, version: str | None = None, of: ObjectStore | None = None) -> StoredObject:
        bucket = of._bucket if isinstance(of, S3Store) else self._bucket
        found = (of or self).head(source)
        if found is None:
            raise CheckpointNotFoundError(f"{bucket.place(source)}: nothing there; check the name")
        if version not in (None, found.version):
            raise _replaced(bucket.place(source))
        named = {"CopySource": {"Bucket": bucket.name, "Key": source}, "CopySourceIfMatch": found.version}
        copied = self._copied_whole if found.size <= _COPIED_WHOLE else self._copied_in_parts
        try:
            return copied(named, found.size, key)
        except Exception as error:
            if condition_failed(error):
                raise _replaced(bucket.place(source)) from None
            raise as_write_error(error, self._bucket.place(key)) from error

    def is_beside(self, other: ObjectStore) -> bool:
        return isinstance(other, S3Store) and other._bucket.files is self._bucket.files

    def now(self) -> float:
        return self._bucket.now()

    def _sent(self, method: str, key: str, data: bytes | memoryview, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a put whose bytes are proved."""
        checksum = checksum_of(data)
        answer = self._bucket.send(method, key, data, ChecksumCRC32=checksum, **parameters)
        if not is_proved(answer, data, checksum):
            answer = self._bucket.send(method, key, data, ContentMD5=md5_of(data), **parameters)
        return answer

    def _settled(self, error: Exception, key: str, data: bytes | memoryview, condition: Condition) -> StoredObject:
        """Return the object of a put that was refused.

        It is our own, of a first try whose answer was lost.
        """
        none_there = condition.version is not None and error_code(error) == "NoSuchKey"
        if condition == ALWAYS or not (condition_failed(error) or none_there):
            raise as_write_error(error, self._bucket.place(key)) from error
        found = self.head(key)
        if found is None or not self._holds(found, data):
            raise ConditionFailedError(f"{self._bucket.place(key)}: another writer was there first") from None
        return found

    def _holds(self, found: StoredObject, data: bytes | memoryview) -> bool:

        def read(start: int, end: int) -> bytes:
            return self._bucket.body(found.key, Range=f"bytes={start}-{end - 1}", IfMatch=found.version)

        try:
            return holds(found.size, data, read)
        except Exception as error:
            if condition_failed(error) or isinstance(error, FileNotFoundError):
                return False
            raise as_ckpt_error(error, self._bucket.place(found.key)) from error

    def _completed(self, error: Exception, key: str, parts: list[UploadedPart], size: int) -> StoredObject:
        """Return the object of a completion that failed.

        It must be of just these parts: then its first answer was lost.
        """
        if condition_failed(error) or isinstance(error, FileNotFoundError):
            found = self.head(key)
            if found is not None and found.size == size and found.version == etag_of_parts(parts):
                return found
        if condition_failed(error):
            raise ConditionFailedError(f"{self._bucket.place(key)}: another writer was there first") from None
        raise as_write_error(error, self._bucket.place(key)) from error

    def _copied_whole(self, source: dict[str, Any], size: int, key: str) -> StoredObject:
        answer = self._bucket.ask("copy_object", key, nbytes=size, **source)["CopyObjectResult"]
        return StoredObject(key, size, quoted(answer["ETag"]), answer["LastModified"].timestamp())

    def _copied_in_parts(self, source: dict[str, Any], size: int, key: str) -> StoredObject:
        upload = self.begin_upload(key)

        def copied_part(numbered: tuple[int, int]) -> UploadedPart:
            number, start = numbered
            end = min(start + _COPIED_PART, size)
            named = {"UploadId": upload, "PartNumber": number, "CopySourceRange": f"bytes={start}-{end - 1}"}
            answer = self._bucket.ask("upload_part_copy", key, nbytes=end - start, **named, **source)
            return UploadedPart(number, end - start, quoted(answer["CopyPartResult"]["ETag"]))

        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                parts = list(pool.map(copied_part, enumerate(range(0, size, _COPIED_PART), 1)))
            return self.complete(key, upload, parts)
        except BaseException:
            self.abort(key, upload)
            raise


def _replaced(place: str) -> ReplacedError:
    return ReplacedError(f"{place}: was replaced while it was read; run it again")


def newest_parts(listed: Iterable[dict[str, Any]]) -> list[UploadedPart]:
    """Return the parts of a listing, by number.

    SeaweedFS lists also those that were replaced, its times are in seconds.
    """
    found: dict[int, dict[Any, set[UploadedPart]]] = {}
    for part in listed:
        times = found.setdefault(part["PartNumber"], {})
        times.setdefault(part["LastModified"], set()).add(
            UploadedPart(part["PartNumber"], part["Size"], quoted(part["ETag"]))
        )
    newest = (times[max(times)] for _, times in sorted(found.items()))
    return [next(iter(parts)) for parts in newest if len(parts) == 1]


def _conditions(condition: Condition) -> dict[str, Any]:
    """A condition as the client's operations have it."""
    absent = {"IfNoneMatch": "*"} if condition.absent else {}
    return absent if condition.version is None else {**absent, "IfMatch": condition.version}
