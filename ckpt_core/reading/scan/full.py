"""One walk over the bytes of files for every check.

Digests, checksums and values are made in a single pass. Several workers read, each one contiguous run of blocks.
Memory: one block a worker, whatever the size of the files.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckpt_core.errors import CkptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.byte_consumers import ByteConsumer, OnBlock
from ckpt_core.storage.digests import BLOCK
from ckpt_core.storage.workers import run, stretches

UNIT = 32 * BLOCK
"""Bytes that are given to a worker together at least: contiguous reads are what a disk is fast at."""


@dataclass(frozen=True, slots=True)
class _Unit:
    path: str
    start: int
    end: int


def walk(
    files: Files, consumers: Iterable[ByteConsumer], *, whole: Sequence[str] = (), on_block: OnBlock | None = None
) -> list[CkptError]:
    """Feed byte consumers while reading each byte once.

    The files named in `whole` are read altogether. A consumer is served by the worker in whose run it starts, also
    beyond the run's end.

    Args:
        files: The listing.
        consumers: The byte consumers.
        whole: Files of which `on_block` is to be told every block.
        on_block: Told of the blocks of those files.

    Returns:
        The errors of reads that no consumer was told of.
    """
    by_path: dict[str, list[ByteConsumer]] = {path: [] for path in whole}
    for consumer in consumers:
        if consumer.end > consumer.start:
            by_path.setdefault(consumer.path, []).append(consumer)
    for wanted in by_path.values():
        wanted.sort(key=lambda consumer: consumer.start)
    units = [unit for path, wanted in sorted(by_path.items()) for unit in _units(files, path, wanted, path in whole)]
    told = on_block or _nothing
    failed = run(
        lambda share: _walk_share(files, share, by_path, frozenset(whole), told),
        stretches(units, [unit.end - unit.start for unit in units]),
    )
    return [error for errors in failed for error in errors]


def _nothing(path: str, number: int, data: memoryview) -> None:
    pass


def _units(files: Files, path: str, consumers: Sequence[ByteConsumer], whole: bool) -> Iterable[_Unit]:
    """Yield the wanted bytes of a file in units.

    The whole file or what consumers want of it; units begin at blocks.
    """
    first = 0 if whole else consumers[0].start // BLOCK * BLOCK
    last = files.size(path) if whole else max(consumer.end for consumer in consumers)
    for start in range(first, last, UNIT):
        yield _Unit(path, start, min(start + UNIT, last))


def _walk_share(
    files: Files,
    share: Sequence[_Unit],
    by_path: Mapping[str, Sequence[ByteConsumer]],
    whole: frozenset[str],
    told: OnBlock,
) -> list[CkptError]:
    buffer = memoryview(bytearray(BLOCK))
    errors: list[CkptError] = []
    for path, start, end in _runs(share):
        consumers = by_path[path]
        starts = [consumer.start for consumer in consumers]
        mine = consumers[bisect_left(starts, start) : bisect_left(starts, end)]
        walker = _Walker(files, path, buffer)
        walker.walk(start, end, mine, told if path in whole else None)
        errors += walker.errors
    return errors


def _runs(share: Sequence[_Unit]) -> Iterable[tuple[str, int, int]]:
    """Yield units of one file that follow each other as one run."""
    open_run: tuple[str, int, int] | None = None
    for unit in share:
        if open_run is not None and (open_run[0], open_run[2]) == (unit.path, unit.start):
            open_run = (unit.path, open_run[1], unit.end)
            continue
        if open_run is not None:
            yield open_run
        open_run = (unit.path, unit.start, unit.end)
    if open_run is not None:
        yield open_run


class _Walker:
    """One worker's walk over one run of a file."""

    def __init__(self, files: Files, path: str, buffer: memoryview) -> None:
        self._files, self._path, self._buffer = files, path, buffer
        self.errors: list[CkptError] = []

    def walk(self, start: int, end: int, consumers: Sequence[ByteConsumer], told: OnBlock | None) -> None:
        # Blocks are read in turn from the run's start. `waiting` is sorted, the next one last; `active` are those that
        # the block in hand has bytes of. A consumer that outlasts the run is served to its end: nobody else begins it.
        waiting = list(reversed(consumers))
        active: list[ByteConsumer] = []
        position, size = start, self._files.size(self._path)
        while active or waiting or (told is not None and position < end):
            if not active and told is None:
                # Nobody wants what lies before the next one; whole blocks, since digests are of blocks.
                position = max(position, waiting[-1].start // BLOCK * BLOCK)
            # Behind the end of the file the read has to fail, and tell those who wanted what is not there.
            stop = min(position + BLOCK, size) if position < size else position + BLOCK
            while waiting and waiting[-1].start < stop:
                active.append(waiting.pop())
            data = self._read(position, stop, active)
            if data is not None:
                if told is not None and position < end:
                    told(self._path, position // BLOCK, data)
                _show(active, position, data)
            else:
                active = []  # each was told of the error; more of the file does not make it whole
            active = [consumer for consumer in active if consumer.end > stop]
            position += BLOCK

    def _read(self, start: int, stop: int, active: Sequence[ByteConsumer]) -> memoryview | None:
        data = self._buffer[: stop - start]
        try:
            self._files.read_into(self._path, start, data)
        except CkptError as error:
            for consumer in active:
                consumer.fail(error)
            self.errors += [] if active else [error]
            return None
        return data


def _show(active: Sequence[ByteConsumer], position: int, data: memoryview) -> None:
    end = position + len(data)
    for consumer in active:
        part = data[max(consumer.start - position, 0) : min(consumer.end, end) - position]
        if len(part):
            consumer.see(part)
