"""The sites of changes: a disk, or a store of objects."""

import os

from ckpt_core.arguments import argument
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.storage.repairing.in_place import InPlace
from ckpt_core.storage.repairing.in_store import InStore
from ckpt_core.storage.writing.mounts.mount_store import MountStore
from ckpt_core.storage.writing.mounts.renames import can_rename_at

InSomePlace = InPlace | InStore


def place_of(files: Files) -> InSomePlace:
    """Return the site where a checkpoint can be changed.

    Raises:
        UnsupportedFormatError: Nothing is written to such URLs.
    """
    if any(files.local_path(path) is not None for path in list(files.entries)[:1]):
        if can_rename_at(files.location.url):
            return InPlace(files)
        folder, name = os.path.split(os.path.realpath(files.location.url))
        return InStore(files, MountStore(folder), name)
    from ckpt_core.storage.objects.open_store import open_store

    try:
        store, key = open_store(files.location.url)
    except UnsupportedFormatError:
        raise UnsupportedFormatError(
            f"{files.location}: only checkpoints on a disk or in a store that ckpt writes to are changed in place; "
            f"use {argument('output')}"
        ) from None
    return InStore(files, store, key)


def is_interrupted(files: Files) -> bool:
    """Return whether a repair was stopped in the middle.

    That is told of what was listed.
    """
    if not files.entries:
        return False
    try:
        return place_of(files).interrupted()
    except UnsupportedFormatError:
        return False
