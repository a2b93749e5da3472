"""One writer at a place.

An advisory lock on a file beside the destination, gone with the process that holds it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ckpt_core.errors import LockedError
from ckpt_core.schema.text import printable
from ckpt_core.storage.writing.syscalls import as_ckpt_error


@contextmanager
def locked(path: str, *, place: str) -> Iterator[None]:
    """Hold the lock file `path` for a block.

    Raises:
        LockedError: Another process holds it: somebody writes to `place` now.
    """
    descriptor = _acquire(path, place)
    try:
        yield
    finally:
        # Removed while it is held, so that nobody else can have taken this very file.
        try:
            os.unlink(path)
        except OSError:
            pass  # the directory is gone or read-only: an unlocked file left behind hinders nobody
        os.close(descriptor)


def _acquire(path: str, place: str) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise as_ckpt_error(error, path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LockedError(
                f"{printable(place)}: another process is writing there; try again when it is done"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise as_ckpt_error(error, path) from error
        if _is_current(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_current(path: str, descriptor: int) -> bool:
    """Return whether the locked file still has its name.

    Its last holder removes it when done.
    """
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))
