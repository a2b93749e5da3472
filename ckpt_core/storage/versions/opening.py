"""Opens a store of versions, and the listing of one version."""

import os

from ckpt_core.errors import CheckpointNotFoundError, UnsupportedFormatError, UsageError
from ckpt_core.schema.access.files import Files
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.versions.names import SIGN, split_version
from ckpt_core.storage.versions.record import VersionRecord
from ckpt_core.storage.versions.version_store import VersionStore


def open_version_store(url: str, *, reads: bool = False) -> VersionStore:
    """Return the store at a place.

    It need not be there yet.

    Args:
        url: Where it is.
        reads: Nothing will be written, so that it need not be known how a mount takes that.

    Raises:
        UnsupportedFormatError: Nothing is written to URLs of this scheme.
    """
    path = local_path(url)
    if path is None:
        from ckpt_core.storage.objects.open_store import open_store

        store, key = open_store(url)
        return VersionStore(store, f"{key}/" if key else "", url)
    root = os.path.abspath(path) if reads else os.path.realpath(path)
    from ckpt_core.storage.writing.mounts.renames import can_rename_at

    if reads or can_rename_at(root):
        from ckpt_core.storage.versions.directory_store import DirectoryStore

        return VersionStore(DirectoryStore(root), "", url)
    from ckpt_core.storage.writing.mounts.mount_store import MountStore

    return VersionStore(MountStore(root), "", url)


def probe_version(ref: str) -> LocationKind | None:
    """Return what `STORE@v3` opens as; None where it names no version."""
    found = _found(ref)
    return None if found is None else LocationKind(found[1].place)


def why_no_version(ref: str) -> tuple[str, str]:
    """Return why `STORE@v3` names nothing, and the next step.

    "" where no store is there.
    """
    wanted = split_version(ref)
    store = None if wanted is None else _store_at(wanted.store)
    if wanted is None or store is None or not store.exists():
        return "", ""
    try:
        store.find(wanted.name)
    except CheckpointNotFoundError as error:
        reason, _, step = error.message.removeprefix(f"{store}@{wanted.name}: ").partition("; ")
        return reason, step
    return "", ""


def list_version(ref: str) -> Files | None:
    """Return the listing of a version, its number pinned.

    None where a ref names none.

    Raises:
        CorruptError: VS001, VS002: its table is lost or damaged.
    """
    found = _found(ref)
    if found is None:
        return None
    from ckpt_core.storage.versions.version_files import VersionFiles

    store, record = found
    return VersionFiles(Location(f"{store.url}@{record.name}", LocationKind(record.place)), store, record)


def list_store(ref: str) -> Files | None:
    """Return the listing of a store itself, its sign alone.

    None where none is there.
    """
    store = _store_at(ref)
    if store is None or not store.exists():
        return None
    from ckpt_core.storage.versions.version_files import StoreFiles

    return StoreFiles(Location(ref, LocationKind.DIRECTORY), store.store.read(store.key(SIGN)))


def _found(ref: str) -> tuple[VersionStore, VersionRecord] | None:
    """Return the store and the record that a ref names.

    That there is such a record is the sign of the store.
    """
    wanted = split_version(ref)
    store = None if wanted is None else _store_at(wanted.store)
    if wanted is None or store is None:
        return None
    try:
        if wanted.number is None and not store.exists():
            return None
        return store, store.find(wanted.name, explain=False)
    except CheckpointNotFoundError:
        return None


def _store_at(url: str) -> VersionStore | None:
    try:
        return open_version_store(url, reads=True)
    except (UnsupportedFormatError, UsageError):
        return None  # of another kind: its own question says so
