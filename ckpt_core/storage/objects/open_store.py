"""The choice of a store for a URL."""

from typing import Any

from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.schema.text import redact
from ckpt_core.storage.objects.store import ObjectStore
from ckpt_core.storage.remote.filesystems import open_filesystem
from ckpt_core.storage.urls import scheme_of

_ELSEWHERE = {
    "hf": "write to a disk, and put the folder there by hf upload",
    "wandb": "write to a disk, and publish the folder from there by ckpt_wandb.upload",
}
"""What puts a checkpoint where nothing is written to."""


def open_store(url: str) -> tuple[ObjectStore, str]:
    """Return the store of a URL, and the key in it.

    The key is the rest of the URL, without slashes around it.

    Raises:
        UnsupportedFormatError: Nothing is written to URLs of this scheme, or a package is missing.
        UsageError: The URL names no bucket, or a version of an object.
    """
    scheme = scheme_of(url)
    if scheme == "memory":
        from ckpt_core.storage.objects.memory_store import MemoryStore

        return MemoryStore(), url.partition("://")[2].strip("/")
    if scheme == "s3":
        from ckpt_core.storage.objects.s3_store import S3Store

        files, bucket, key = _bucket_of(url)
        return S3Store(files, bucket), key
    if scheme in ("gs", "gcs"):
        from ckpt_core.storage.objects.gcs_store import GCSStore

        files, bucket, key = _bucket_of(url)
        return GCSStore(files, bucket), key
    step = _ELSEWHERE.get(scheme or "", "write to a disk, s3:// or gs://, and copy it there by the means of its owner")
    raise UnsupportedFormatError(f"{redact(url)}: {scheme}:// is read only; {step}")


def _bucket_of(url: str) -> tuple[Any, str, str]:
    """The filesystem of a URL, its bucket and the key in it."""
    if not url.partition("://")[2].partition("/")[0]:
        raise UsageError(f"{redact(url)}: names no bucket; give one, as in {url.partition('://')[0]}://BUCKET/NAME")
    files, name = open_filesystem(url)
    bucket, key, version = files.split_path(name)
    if version is not None or "?versionId=" in url:
        raise UsageError(f"{redact(url)}: names one version of an object; nothing is written to those, give its name")
    return files, bucket, key.strip("/")
