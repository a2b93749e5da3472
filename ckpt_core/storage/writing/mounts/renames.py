"""Trials of whether a folder's rename can commit a checkpoint.

On mounts of buckets it cannot: they have no rename, or copy file by file.

What FUSE mounts it is asked by name, then by a try. Everything else that Linux mounts renames a folder in one step.
"""

import os
import uuid

from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.storage.files.mount_kinds import BUCKETS, kind_of_mount
from ckpt_core.storage.writing import syscalls


def commits_by_rename(folder: str) -> bool:
    """Return whether a folder below can be renamed in one step.

    Nothing is left behind by asking.

    Raises:
        CkptError: Nothing can be written there.
    """
    kind = kind_of_mount(folder)
    if not kind.startswith("fuse"):
        return True
    return not BUCKETS & set(kind.split(".")) and _renames(folder)


def can_rename_at(path: str) -> bool:
    """Return whether a rename can commit what is written at a path.

    The nearest folder above it tells.
    """
    folder = os.path.dirname(os.path.realpath(path))
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return commits_by_rename(folder)


def _renames(folder: str) -> bool:
    """Return whether a folder with a file in it was renamed.

    It is tried.
    """
    first = os.path.join(folder, f"{MARK}probe-{uuid.uuid4().hex}")
    second = f"{first}-renamed"
    syscalls.make_directory(first)
    try:
        syscalls.write_file(os.path.join(first, "file"), b"x")
        os.rename(first, second)
        return True
    except OSError:
        return False
    finally:
        syscalls.remove_tree(first)
        syscalls.remove_tree(second)
