"""Tells what is at a local path, by one look.

It is light, since every search does it.
"""

import errno
import os
import stat

from ckpt_core.errors import CkptError, CorruptError, UnreachableError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.schema.text import printable

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def probe(path: str, *, wanted: LocationKind | None = None) -> LocationKind | None:
    """Return the kind of thing at a path.

    A file, a directory, or None for nothing.

    Args:
        path: The path.
        wanted: What should be there; a file is looked for once, a directory also where it waits to be replaced.

    Raises:
        UnreachableError: It cannot be told: no permission, a mount that fails.
        CorruptError: It is neither a regular file nor a directory.
    """
    found = stat_of(path)
    if found is None and wanted is not LocationKind.FILE:
        found = stat_of(left_between(path))
    return None if found is None else kind_of(path, found.st_mode)


def left_between(path: str) -> str:
    """Return the old content's place during a replacement.

    It is there on a mount that cannot exchange two names.
    """
    folder, name = os.path.split(path.rstrip("/"))
    return os.path.join(folder, f".{name}{MARK}old")


def stat_of(path: str) -> os.stat_result | None:
    """Return the system's description of a path, links followed.

    None for nothing there.
    """
    try:
        return os.stat(path)
    except ValueError:
        return None  # a name that no file can have, such as one with a NUL in it
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        if error.errno == errno.ELOOP:
            raise CorruptError(f"{printable(path)}: a link that leads back to itself", code="CK002") from error
        raise unreachable(path, error) from error


def kind_of(path: str, mode: int) -> LocationKind:
    """File or directory. CorruptError (CK002) for anything else."""
    if stat.S_ISDIR(mode):
        return LocationKind.DIRECTORY
    if stat.S_ISREG(mode):
        return LocationKind.FILE
    raise CorruptError(f"{printable(path)}: not a regular file (a device, a pipe or a socket)", code="CK002")


def unreachable(path: str, error: OSError) -> CkptError:
    """Return the error for a path that the system cannot describe."""
    denied = error.errno in (errno.EACCES, errno.EPERM)
    cure = "ask its owner for the right to read it" if denied else "check the disk or mount and try again"
    return UnreachableError(f"{printable(path)}: {reason_of(error)}; {cure}", path=path)


def reason_of(error: OSError) -> str:
    """The system's words."""
    return (error.strerror or str(error)).lower()
