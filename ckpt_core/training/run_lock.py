"""One training at a time in a folder.

A lock that its process holds, and no process that it forks.

Loader workers are forked from a training and outlive it by seconds where it is killed. With the lock in their hands, a
training that is started again at once would find its own folder in use.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ckpt_core.errors import LockedError
from ckpt_core.schema.text import printable
from ckpt_core.storage.writing.syscalls import as_ckpt_error

_LOCK = ".run.ckpt-lock"
_held: set[int] = set()


def _let_go() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def holding(folder: str) -> Iterator[None]:
    """Keep every other training out of a folder for a block.

    Raises:
        LockedError: Another one is there.
    """
    path = os.path.join(folder, _LOCK)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise as_ckpt_error(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise LockedError(
                f"{printable(folder)}: another training is running there; end it, or give each a folder of its own"
            ) from None
        raise as_ckpt_error(error, path) from error
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)  # the file stays: it hinders nobody, and a lock on one that is gone holds nothing
