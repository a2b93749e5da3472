"""Reads the objects of a store.

A listing of a store has all of its versions' objects: a version needs a few of them.
"""

import os
from collections.abc import Mapping
from typing import Any

from ckpt_core.errors import CheckpointNotFoundError, CorruptError
from ckpt_core.schema.access.files import FileEntry, Files
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.identity import Identity
from ckpt_core.storage.files.probe import stat_of
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.versions.version_store import VersionStore, lost


class StoredObjects:
    """The objects of a store. Any thread may read.

    Args:
        store: The store.
        sizes: How many bytes each object has that may be read.
    """

    def __init__(self, store: VersionStore, sizes: Mapping[str, int]) -> None:
        self.is_local = store.is_local
        self._sizes = sizes
        self._entries: dict[str, FileEntry] = {}
        self._look = self._local(store) if store.is_local else self._remote(store)

    def read_into(self, stored: ByteRange, out: memoryview) -> None:
        """Fill `out` with a stretch of an object.

        Raises:
            CorruptError: VS001, the object is gone or has another size.
        """
        self.require(stored.path)
        self._look.files.read_into(stored.path, stored.offset, out)

    def require(self, path: str) -> None:
        """Raise CorruptError (VS001) where an object is gone or has another size."""
        if path not in self._entries:
            self._look.require(path, self._sizes[path])

    def _local(self, store: VersionStore) -> "_LocalObjects":
        return _LocalObjects(local_path(store.url) or "", self._entries)

    def _remote(self, store: VersionStore) -> "_RemoteObjects":
        return _RemoteObjects(store.url, self._entries)


class _LocalObjects:
    """Files of a folder, of which those that are read are known."""

    def __init__(self, root: str, entries: dict[str, FileEntry]) -> None:
        from ckpt_core.storage.files.local import LocalFiles

        self._root, self._entries = root, entries
        self._identities: dict[str, Identity] = {}
        location = Location(root, LocationKind.DIRECTORY)
        self.files: Files = LocalFiles(location, root, entries, self._identities)

    def require(self, name: str, size: int) -> None:
        found = stat_of(os.path.join(self._root, name))
        if found is None:
            raise lost(name)
        _compare(name, found.st_size, size)
        self._identities[name] = Identity.of(found)
        self._entries[name] = FileEntry(name, size)


class _RemoteObjects:
    """Objects of a bucket, of which those that are read are known."""

    def __init__(self, url: str, entries: dict[str, FileEntry]) -> None:
        from ckpt_core.storage.files.remote import RemoteFiles
        from ckpt_core.storage.remote.filesystems import open_filesystem

        self._url, self._entries = url.rstrip("/"), entries
        filesystem, _ = open_filesystem(url)
        self._names: dict[str, str] = {}
        self._found: dict[str, Any] = {"": {}}  # the listing keeps this very dict, which grows
        location = Location(url, LocationKind.DIRECTORY)
        self.files: Files = RemoteFiles(location, filesystem, self._names, entries, found=self._found)

    def require(self, name: str, size: int) -> None:
        from ckpt_core.storage.files.remote import facts_of

        try:
            self._names[name], self._found[name] = facts_of(f"{self._url}/{name}")
        except CheckpointNotFoundError:
            raise lost(name) from None
        _compare(name, int(self._found[name].get("size", size)), size)
        self._entries[name] = FileEntry(name, size)


def _compare(name: str, found: int, size: int) -> None:
    if found != size:
        raise CorruptError(
            f"{printable(name)}: the object has {found} bytes, and {size} were stored (truncated?); bring it back from "
            "a copy of the store",
            code="VS001",
            path=name,
        )
