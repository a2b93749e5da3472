"""Regular files of this machine, opened and read.

They are opened without following a link at the last step and without waiting for a pipe.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from ckpt_core.errors import CkptError, CorruptError
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.probe import unreachable
from ckpt_core.storage.files.range_checks import ends_early, gone
from ckpt_core.storage.workers import check_stop, got_on

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW

KEPT_OPEN = 64
"""Files a listing keeps open: enough for the shards of most checkpoints, far below the 1024 that a process may open."""

_READ_AT_ONCE = 64 << 20
"""Bytes of one read: a worker that is told to stop does so between two."""


class Descriptors:
    """Descriptors of files being read, by their listed path.

    With them 20,000 small reads do not open 20,000 times.

    Any thread may read through one: reads give their offset. None is closed before all are, so that no thread can be
    left with the number of another file.
    """

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self._lock = Lock()

    @contextmanager
    def open(self, local: str, path: str, check: Callable[[int], None]) -> Iterator[int]:
        """Lend a descriptor, and keep it where there is room.

        Where there is none for one more, it is open for the block.
        """
        descriptor = open_regular(local, path)
        try:
            check(descriptor)
        except CkptError:
            os.close(descriptor)
            raise
        with self._lock:
            stays = len(self.kept) < KEPT_OPEN and self.kept.setdefault(path, descriptor) == descriptor
        try:
            yield descriptor
        finally:
            if not stays:
                os.close(descriptor)

    def __del__(self) -> None:
        for descriptor in self.kept.values():
            try:
                os.close(descriptor)
            except OSError:
                pass  # of a mount that is gone


def open_regular(path: str, shown: str) -> int:
    """A descriptor of a regular file. `shown` names it in errors."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError as error:
        raise gone(shown) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # as that of a seal may be: then there is none
            raise gone(shown) from error
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link or a socket has taken the file's place
            raise CorruptError(f"{printable(shown)}: not a regular file", code="CK002", path=shown) from error
        raise unreachable(shown, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorruptError(f"{printable(shown)}: not a regular file", code="CK002", path=shown)
    return descriptor


def fill(descriptor: int, shown: str, offset: int, out: memoryview) -> None:
    """Read until `out` is full; CorruptError where the file ends first."""
    done = 0
    while done < len(out):
        check_stop()
        try:
            count = os.preadv(descriptor, [out[done : done + _READ_AT_ONCE]], offset + done)
        except OSError as error:
            raise unreachable(shown, error) from error
        if not count:
            raise ends_early(shown, offset + len(out), offset + done)
        done += count
        got_on()
