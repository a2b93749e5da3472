"""Which store serves a URL that is to be written to."""

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.text import redact
from ckpt_core.storage.objects.store import ObjectStore
from ckpt_core.storage.urls import scheme_of


def open_store(url: str) -> tuple[ObjectStore, str]:
    """The store of a URL, and the key that the rest of it is: without slashes around it.

    Raises:
        UnsupportedFormatError: Nothing is written to URLs of this scheme, or a package is missing.
    """
    scheme, key = scheme_of(url), url.partition("://")[2].strip("/")
    if scheme == "memory":
        from ckpt_core.storage.objects.memory_store import MemoryStore

        return MemoryStore(), key
    if scheme == "s3":
        from ckpt_core.storage.objects.s3_store import S3Store
        from ckpt_core.storage.remote.filesystems import open_filesystem

        files, name = open_filesystem(url)
        bucket, key, _ = files.split_path(name)
        return S3Store(files, bucket), key.strip("/")
    raise UnsupportedFormatError(
        f"{redact(url)}: {scheme}:// is read only; write to a disk, s3:// or gs://, and copy it there by its own tool"
    )
