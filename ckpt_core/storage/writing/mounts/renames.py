"""Trials of whether a folder's rename can commit a checkpoint.

Not on mounts of buckets, which have none, or copy file by file.

What FUSE mounts it is asked by name, then by a try. Everything else that Linux mounts renames a folder in one step.
"""

import os
import uuid

from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.storage.writing import syscalls

_COPIED = frozenset(
    {
        *("gcsfuse", "gcsfs", "s3fs", "s3fs-fuse", "s3backer", "mountpoint-s3", "goofys", "geesefs", "yas3fs"),
        *("rclone", "blobfuse", "blobfuse2", "ossfs", "ossfs2", "cosfs", "obsfs", "tosfs", "hf-mount"),
    }
)
"""What FUSE calls mounts of buckets, whose folders are prefixes of names: their rename is absent, or one of each file
below in turn. Source: each project's own notes on semantics."""


def commits_by_rename(folder: str) -> bool:
    """Return whether a folder below can be renamed in one step.

    Nothing is left behind by asking.

    Raises:
        CkptError: Nothing can be written there.
    """
    kind = _kind_of_mount(folder)
    if not kind.startswith("fuse"):
        return True
    return not _COPIED & set(kind.split(".")) and _renames(folder)


def can_rename_at(path: str) -> bool:
    """Return whether a rename can commit what is written at a path.

    As the nearest folder above it says.
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


def _kind_of_mount(folder: str) -> str:
    """Return the type of a folder's filesystem.

    Behind a dot what was mounted; empty where none tells.

    Source: proc_pid_mountinfo(5): the third field is the device, the type comes after a dash, then the source.
    """
    try:
        device = os.stat(folder).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            rows = [line.split() for line in lines]
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = [row[row.index("-") + 1 :] for row in rows if row[2] == wanted and "-" in row]
    return f"{found[-1][0]}.{os.path.basename(found[-1][1])}" if found else ""
