"""Parts of files, read by several threads.

They are written by one and hashed by another, in the order of the files.

Each thread has work for as long as buffers are ahead of it: none waits to be woken between two parts.
"""

import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Condition, Event, Lock
from typing import NamedTuple, TypeVar

from ckpt_wandb.parallel.incoming import PART, Incoming

T = TypeVar("T")

_READERS = 8
"""Each with a connection: they hide what a server takes to answer."""

_BUFFERS = 12
"""Of a part each: one for each reader, for the writer and the hash, and two that are ready."""

_LOOK = 0.1
"""Seconds between two looks at whether anybody still waits."""


class _Part(NamedTuple):
    file: Incoming
    start: int
    buffer: memoryview

    @property
    def data(self) -> memoryview:
        return self.buffer[: min(PART, self.file.source.size - self.start)]


def bring_all(files: list[Incoming], progress: Callable[[int], None]) -> set[Incoming]:
    """Bring files to their end.

    Returns those whose bytes are right, which have their names now.

    Raises what a read or a write does, when all threads have ended: what was written is gone on with by another run.
    """
    bringing = _Bringing(files, progress)
    steps = [*[bringing.read] * _READERS, bringing.write, bringing.hash, bringing.name]
    with ThreadPoolExecutor(len(steps), "ckpt-wandb-file") as pool:
        running = [pool.submit(step) for step in steps]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            bringing.stop.set()
    for file in files:
        file.close()
    failed = [error for one in running if (error := one.exception()) is not None]
    for error in sorted(failed, key=lambda error: isinstance(error, InterruptedError)):
        raise error  # the one that failed by itself comes before those that it stopped
    return bringing.right


class _Bringing:
    def __init__(self, files: list[Incoming], progress: Callable[[int], None]) -> None:
        self.stop = Event()
        self.right: set[Incoming] = set()
        self._count = sum(len(file.starts) for file in files)
        self._files, self._progress = len(files), progress
        parts = ((file, start) for file in files for start in file.starts)
        self._parts: Iterator[tuple[int, tuple[Incoming | None, int]]] = enumerate(parts)
        self._taking, self._came = Lock(), Condition()
        self._read: dict[int, _Part] = {}
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._written: SimpleQueue[_Part] = SimpleQueue()
        self._hashed: SimpleQueue[Incoming] = SimpleQueue()
        for buffer in _buffers(min(_BUFFERS, self._count)):
            self._free.put(buffer)

    def read(self) -> None:
        """Read the parts that are left, whichever is next."""
        for number, part in iter(self._next, None):
            if len(part.data):
                part.file.source.read_into(part.start, part.data)
            with self._came:
                self._read[number] = part
                self._came.notify()

    def write(self) -> None:
        """Write the parts in order."""
        for number in range(self._count):
            with self._came:
                while number not in self._read:
                    self._check()
                    self._came.wait(_LOOK)
                part = self._read.pop(number)
            part.file.write(part.data)
            self._written.put(part)

    def hash(self) -> None:
        """Hash the parts in order."""
        for _ in range(self._count):
            part = self._got(self._written)
            part.file.hash(part.data)
            self._progress(len(part.data))
            if part.start + len(part.data) == part.file.source.size:
                self._hashed.put(part.file)
            self._free.put(part.buffer)

    def name(self) -> None:
        """Give the files that are right their names."""
        for _ in range(self._files):
            file = self._got(self._hashed)
            if file.name():
                self.right.add(file)

    def _next(self) -> tuple[int, _Part] | None:
        """The next part, with a buffer; None where none is left.

        Both under one lock: whoever has the earliest part has a buffer, so that the writer never waits for nothing.
        """
        with self._taking:
            number, (file, start) = next(self._parts, (-1, (None, 0)))
            return None if file is None else (number, _Part(file, start, self._got(self._free)))

    def _got(self, queue: "SimpleQueue[T]") -> T:
        while True:
            self._check()
            try:
                return queue.get(timeout=_LOOK)
            except Empty:
                continue

    def _check(self) -> None:
        if self.stop.is_set():
            raise InterruptedError("another file of the same download failed")


def _buffers(count: int) -> Iterator[memoryview]:
    """Yield so many buffers of a part each.

    Aligned to pages, in huge ones where the system has them.
    """
    if count:
        region = mmap.mmap(-1, count * PART)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without them
                region.madvise(mmap.MADV_HUGEPAGE)
        for number in range(count):
            yield memoryview(region)[number * PART : (number + 1) * PART]
