"""Whole files copied on this machine.

They share their storage until either is written to, on disks that can do that (btrfs, XFS).
"""

import fcntl
import os
from collections.abc import Callable

from ckpt_core.errors import CkptError
from ckpt_core.storage.buffers import borrowed
from ckpt_core.storage.files.regular import fill, open_regular
from ckpt_core.storage.writing import syscalls

_FICLONE = 0x40049409
"""Source: Linux, `include/uapi/linux/fs.h`."""

_SLAB = 1 << 20


def clone(source: str, target: str, *, opened: Callable[[int], None]) -> bool:
    """Make an existing file share all of another's storage.

    Returns False where the disk cannot, or the two are on others.

    Args:
        source: The file whose content it is to have.
        target: The file.
        opened: Told of the descriptor of the source before; raises where it is not the file that is meant.
    """
    reading = open_regular(source, source)
    try:
        opened(reading)
        writing = syscalls.reopen(target)
        try:
            return _cloned(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_bytes(source: str, target: str, size: int) -> bool:
    """Fill an existing file with another's bytes, by clone or copy.

    Returns False where the source is not there, cannot be read or has another size.
    """
    try:
        reading = open_regular(source, source)
    except CkptError:
        return False
    try:
        if os.fstat(reading).st_size != size:
            return False
        writing = syscalls.reopen(target)
        try:
            return _cloned(reading, writing) or _copied(reading, writing, size, (source, target))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _cloned(reading: int, writing: int) -> bool:
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
        return True
    except OSError:
        return False  # whatever the reason, the bytes are moved then, and what is wrong with the disk shows


def _copied(reading: int, writing: int, size: int, names: tuple[str, str]) -> bool:
    with borrowed(min(_SLAB, max(size, 1))) as buffer:
        for at in range(0, size, _SLAB):
            part = buffer[: min(_SLAB, size - at)]
            try:
                fill(reading, names[0], at, part)
            except CkptError:
                return False
            syscalls.write_at(writing, part, at, names[1])
    return True
