"""Tells whether a local file is still the listed one.

Its size, its time of change and its inode tell.

A time alone tells two contents apart only where they were written in different ticks of the kernel's clock, so that a
file of the running tick is opened once that is over: whatever is written to it from then on has a later time.
"""

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from ckpt_core import knobs
from ckpt_core.errors import ReplacedError
from ckpt_core.schema.text import printable

_TICK = 20_000_000
"""Nanoseconds that a tick of the kernel's clock takes at most (100 Hz), twice."""

_COARSE = 5
"""CLOCK_REALTIME_COARSE, the clock that files get their times from. Source: Linux, `include/uapi/linux/time.h`."""

_MOUNTS = "/proc/self/mountinfo"


class Identity(NamedTuple):
    """The marks of one content of a file.

    Sizes in bytes, times in nanoseconds.
    """

    size: int
    changed: int
    inode: int
    device: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Identity":
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)

    def is_of(self, found: os.stat_result) -> bool:
        """Return True if the marks are a file's own now.

        The file is as the system describes it.
        """
        if (self.size, self.changed) != (found.st_size, found.st_mtime_ns):
            return False
        return self.inode == found.st_ino or _numbers_anew(found.st_dev)


def after_its_tick(changed: int) -> None:
    """Wait until a later write shows in the time.

    Milliseconds at most, until it can be told by its time from the one at `changed`.
    """
    end = time.monotonic_ns() + _TICK
    while -1 < changed - time.clock_gettime_ns(_COARSE) < _TICK and time.monotonic_ns() < end:
        time.sleep(0.001)


def while_fresh(changed: int) -> Iterator[None]:
    """Yield turns in which to look again.

    One, and more until a moment has passed since the change at that time.

    A file that a writer has emptied and not yet filled again looks damaged, and is not. Times are in nanoseconds.
    """
    yield
    wait = _wait()
    while 0 <= time.time_ns() - changed < wait:
        time.sleep(0.005)
        yield


def _wait() -> int:
    """Return the nanoseconds that a writer may still take.

    They count from its last change.
    """
    return knobs.writer_wait() * 1_000_000


def comes_back(path: str) -> bool:
    """Return True if something is at a path within a moment.

    It is waited for only where its folder has just changed.

    Without exchanging two names a directory is replaced in two steps, and nothing has its name between them.
    """
    try:
        changed = os.stat(os.path.dirname(path.rstrip("/")) or ".").st_mtime_ns
    except (OSError, ValueError):
        return False
    while 0 <= time.time_ns() - changed < _wait():
        if os.path.exists(path):
            return True
        time.sleep(0.005)
    return False


def replaced(path: str, what: str = "replaced") -> ReplacedError:
    """Return the error for a place that changed since its listing."""
    return ReplacedError(f"{printable(path)}: was {what} while it was read; run it again", code="MO001", path=path)


def _numbers_anew(device: int) -> bool:
    """Return True if a filesystem may change a file's inode.

    Those in user space that mount a bucket do.
    """
    wanted = f" {os.major(device)}:{os.minor(device)} "
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            return any(wanted in line and " - fuse" in line for line in mounts)
    except OSError:
        return False
