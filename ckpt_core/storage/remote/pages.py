"""Listings of stores, a page at a time.

A limit ends the paging so, and a folder costs one question.

Pages come by the clients' own public calls. What else fsspec speaks to is listed by it, whole.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.storage.remote.failures import NoBucketError, WrongServerError
from ckpt_core.storage.remote.filesystems import ask
from ckpt_core.storage.remote.retries import error_code, status_of

_PAGE = 1000
"""Names of a page: what Amazon S3 gives at most."""


def look(filesystem: Any, name: str, most: int = 0) -> Mapping[str, Any]:
    """Return a filesystem's facts of a name.

    `type`, and of a file its `size` and version.

    A name without a suffix is looked for as a folder first, which is one question; as a file it would be three. What is
    `below` a folder comes with it where `most` is given and that was one question too, as `find` gives it.
    FileNotFoundError where there is nothing, NoBucketError where the bucket is not there either.
    """
    last = name.rstrip("/").rpartition("/")[2]
    if "." not in last and _pages(filesystem, name, 1) is not None:
        below = find(filesystem, name, most)
        if below:
            return {"name": name, "type": "directory", "size": 0, "below": below if most else None}
    try:
        return ask(filesystem, filesystem.info, name)  # type: ignore[no-any-return]
    except OSError as error:
        if error_code(error) in (None, "", "403", "404"):
            _say_why(filesystem, name)
        raise


def _say_why(filesystem: Any, name: str) -> None:
    """Ask for a page, whose refusal has a body that tells why.

    That of a single name has none.
    """
    for _ in _pages(filesystem, name, 1) or ():
        break


def find(filesystem: Any, name: str, most: int) -> dict[str, Mapping[str, Any]]:
    """Return the files below a folder, by the filesystem's names.

    More than `most` only as far as its last page goes.
    """
    pages = _pages(filesystem, name, min(most + 1, _PAGE))
    if pages is None:
        return dict(ask(filesystem, filesystem.find, name, detail=True))
    found: dict[str, Mapping[str, Any]] = {}
    for page in pages:
        found.update(page)
        if len(found) > most:
            break
    return found


def _pages(filesystem: Any, name: str, most: int) -> Iterator[dict[str, Mapping[str, Any]]] | None:
    """Return a reader of pages of at most so many names.

    None where only the filesystem itself can list.
    """
    package = type(filesystem).__module__.partition(".")[0]
    if package == "s3fs" and not filesystem.version_aware:
        return _pages_of_s3(filesystem, name, most)
    return _pages_of_gcs(filesystem, name, most) if package == "gcsfs" else None


def _pages_of_s3(filesystem: Any, name: str, most: int) -> Iterator[dict[str, Mapping[str, Any]]]:
    """Source: Amazon S3, ListObjectsV2; s3fs, `S3FileSystem.call_s3`."""
    bucket, key, _ = filesystem.split_path(name)
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": _prefix(key), "MaxKeys": most}
    while True:
        try:
            page = ask(filesystem, filesystem.call_s3, "list_objects_v2", **asked)
        except Exception as error:
            if error_code(error) == "NoSuchBucket":
                raise NoBucketError from error
            if error_code(error) in ("", "404") and (status_of(error) or 0) < 500:
                raise WrongServerError from error  # a refusal of S3 has a body that names it
            raise
        if page.keys().isdisjoint({"IsTruncated", "Name"}):
            raise WrongServerError
        yield {
            f"{bucket}/{one['Key']}": {**one, "size": one["Size"], "type": "file"} for one in page.get("Contents", ())
        }
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _pages_of_gcs(filesystem: Any, name: str, most: int) -> Iterator[dict[str, Mapping[str, Any]]]:
    """Source: Google Cloud Storage, `Objects: list` of the JSON API; gcsfs, `GCSFileSystem.call`."""
    bucket, key, _ = filesystem.split_path(name)
    asked: dict[str, Any] = {"prefix": _prefix(key), "maxResults": most}
    while True:
        try:
            page = ask(filesystem, filesystem.call, "GET", "b/{}/o", bucket, json_out=True, **asked)
        except FileNotFoundError:
            raise NoBucketError from None
        yield {
            f"{bucket}/{one['name']}": {**one, "size": int(one["size"]), "type": "file"}
            for one in page.get("items", ())
        }
        if not page.get("nextPageToken"):
            return
        asked["pageToken"] = page["nextPageToken"]


def _prefix(key: str) -> str:
    return f"{key.rstrip('/')}/" if key.strip("/") else ""
