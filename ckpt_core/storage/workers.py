"""Shares work out among threads.

Each gets one contiguous stretch, since interleaved reads defeat readahead.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from ckpt_core import knobs

T = TypeVar("T")
R = TypeVar("R")

WORTH_A_WORKER = 4 << 20
"""Bytes below which another thread costs more than it brings: Python runs one at a time, but for reads and digests."""

_current = threading.local()

_getting_on: ContextVar[Callable[[], None] | None] = ContextVar("ckpt_getting_on", default=None)
"""Told of each piece that is read or written, in a worker too."""


class StoppedError(Exception):
    """Ends a worker whose fellow has failed, or whose caller was interrupted."""


def check_stop() -> None:
    """End a worker that no one waits for any more.

    It is called between two reads, and does nothing elsewhere.
    """
    stop = getattr(_current, "stop", None)
    if stop is not None and stop.is_set():
        raise StoppedError


def got_on() -> None:
    """Say that a piece was read or written.

    Whoever waits for this work learns that it is not stuck.
    """
    tell = _getting_on.get()
    if tell is not None:
        tell()


@contextmanager
def telling_how_it_gets_on(tell: Callable[[], None]) -> Iterator[None]:
    """Call a function at each piece that the block reads or writes.

    Any of its workers may call it. Whoever was told before is told as well.
    """
    outer = _getting_on.get()

    def both() -> None:
        tell()
        if outer is not None:
            outer()

    token = _getting_on.set(both)
    try:
        yield
    finally:
        _getting_on.reset(token)


def in_worker() -> bool:
    """Return True if this thread is a worker already.

    What it does is shared out.
    """
    return getattr(_current, "stop", None) is not None


def stretches(items: Sequence[T], sizes: Sequence[int], *, remote: bool = False, least: int = 1) -> list[list[T]]:
    """Return the items in a stretch for each worker.

    In order, of about as many bytes each, and at most as many stretches as workers, or as `least` says.

    None is empty, and none is so short that a thread for it costs more than it brings. There are more workers for what
    is `remote`: each has a connection of its own, and waits most of the time.
    """
    return split(items, sizes, min(max(workers(remote=remote), least), max(sum(sizes) // WORTH_A_WORKER, 1)))


def workers(*, remote: bool) -> int:
    """Threads that read one checkpoint."""
    return max(knobs.workers(), knobs.remote_connections()) if remote else knobs.workers()


@contextmanager
def shared_with_ranks_here() -> Iterator[None]:
    """Leave each rank on this machine its part of the workers.

    The ranks are those that torchrun has started.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with knobs.override(workers=max(knobs.workers() // max(here, 1), 1)):
        yield


def split(items: Sequence[T], sizes: Sequence[int], shares: int) -> list[list[T]]:
    """Return the items in at most so many stretches.

    They are in order, of about as many bytes each; none is empty.
    """
    total = sum(sizes)
    result: list[list[T]] = []
    done = 0
    for item, size in zip(items, sizes, strict=True):
        if not result or (len(result) < shares and done >= total * len(result) / shares):
            result.append([])
        result[-1].append(item)
        done += size
    return result


def run(work: Callable[[list[T]], R], shares: Sequence[list[T]]) -> list[R]:
    """Return the results of `work` on each share.

    One thread each.

    Where one fails, or the caller is interrupted, the others end at their next read, and the first error is raised.
    """
    if len(shares) <= 1:
        return [work(share) for share in shares]
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
    from contextvars import copy_context  # what a verb was told holds in its workers too

    stop = threading.Event()

    def guarded(share: list[T]) -> R:
        _current.stop = stop
        return work(share)

    with ThreadPoolExecutor(len(shares)) as pool:
        futures = [pool.submit(copy_context().run, guarded, share) for share in shares]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    failed = [error for future in done if (error := future.exception()) is not None]
    for error in failed:
        if not isinstance(error, StoppedError):
            raise error
    return [future.result() for future in futures]
