"""A walk over a sample of blocks.

It ends when they are all read or the time is used up. Memory: one block of 1 MiB a worker.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Lock
from time import monotonic
from typing import Protocol, TypeVar

from ckpt_core import knobs
from ckpt_core.errors import CkptError
from ckpt_core.reading.scan.block_choice import Blocks, choice, taken
from ckpt_core.schema.access import Files
from ckpt_core.schema.byte_consumers import ByteConsumer, Checksum, OnBlock
from ckpt_core.schema.verification import Sampling
from ckpt_core.storage.digests import BLOCK
from ckpt_core.storage.workers import run

_WIDEST = 16
"""Bytes of the widest element: a block is read so much further at most, to end no element in the middle."""


class Stretch(ByteConsumer, Protocol):
    """A byte consumer that takes any part of its bytes.

    The parts are of whole elements; several workers call it.

    Attributes:
        width: Bytes of an element.
    """

    @property
    def width(self) -> int: ...

    def see_part(self, data: memoryview) -> None:
        """Take some elements, valid during the call only."""


class Piecewise(Protocol):
    """Something read in pieces other than blocks of a file.

    Attributes:
        name: Its name among others of its kind.
        path: The file that it is in, or begins in.
    """

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    def __len__(self) -> int: ...
    def read_piece(self, number: int) -> None: ...


@dataclass(slots=True)
class Tally:
    """The amount that a sampled walk read.

    Attributes:
        pieces: Blocks and pieces that there are.
        chosen: How many of them were to be read.
        read: How many were.
        files: How many files they are in.
        paths: Those of which some were read.
        blocks: The numbers of the blocks that were read, or could not be, by file.
        sums: The checksums whose records were read whole.
        errors: Of reads that no consumer was told of.
    """

    pieces: int = 0
    chosen: int = 0
    read: int = 0
    files: int = 0
    paths: set[str] = field(default_factory=set)
    blocks: dict[str, set[int]] = field(default_factory=dict)
    sums: list[Checksum] = field(default_factory=list)
    errors: list[CkptError] = field(default_factory=list)


_W = TypeVar("_W", bound=ByteConsumer)


class _InFile:
    """The byte consumers of one file, and its blocks."""

    def __init__(self, stretches: Iterable[Stretch], sums: Iterable[Checksum], size: int | None) -> None:
        self._stretches = sorted(stretches, key=_start)
        self._reach = list(accumulate((consumer.end for consumer in self._stretches), max))
        self._sums = sorted(sums, key=_start)
        self.whole = size is not None
        everything = [] if size is None else [(0, size)]
        spans = [(consumer.start, consumer.end) for consumer in (*self._stretches, *self._sums)]
        self.blocks = Blocks(sorted(everything + spans))

    def stretches_in(self, start: int, end: int) -> list[Stretch]:
        first = bisect_right(self._reach, start)
        last = bisect_left(self._stretches, end, key=_start)
        return [consumer for consumer in self._stretches[first:last] if consumer.end > start]

    def sums_in(self, start: int, stop: int) -> list[Checksum]:
        """Return the checksums of records inside what is read.

        The records begin in the block.
        """
        first, last = (bisect_left(self._sums, at, key=_start) for at in (start, start + BLOCK))
        return [checksum for checksum in self._sums[first:last] if checksum.end <= stop]


def _start(consumer: ByteConsumer) -> int:
    return consumer.start


def sampled_walk(
    files: Files,
    stretches: Iterable[Stretch],
    sums: Iterable[Checksum],
    sampling: Sampling,
    *,
    pieces: Sequence[Piecewise] = (),
    whole: Sequence[str] = (),
    on_block: OnBlock | None = None,
) -> Tally:
    """Read a sample of blocks and pieces.

    The blocks are of what consumers want, and of the files named in `whole`.

    Args:
        files: The listing.
        stretches: What takes any part of its bytes.
        sums: What needs its record whole: served where one block has it.
        sampling: How much, and until when.
        pieces: What is read otherwise; their names are no paths of consumers.
        whole: Files of which `on_block` may be told every block.
        on_block: See `walk`.
    """
    wanted = _by_file(files, stretches, sums, whole)
    others = {f"{piece.name}\0": piece for piece in pieces}
    counts = {path: len(in_file.blocks) for path, in_file in wanted.items()} | {n: len(p) for n, p in others.items()}
    tally = Tally(sum(counts.values()), sum(taken(count, sampling.share) for count in counts.values() if count))
    tally.files = len({others[name].path if name in others else name for name, count in counts.items() if count})
    order = choice(counts, sampling.share, sampling.seed)
    if sampling.seconds is None:
        order = iter(sorted(order))  # in the order of the disk
    sampler = _Sampler(files, wanted, others, on_block, _Line(order, sampling.seconds), tally)
    run(lambda _: sampler.work(), [[number] for number in range(max(min(knobs.workers(), tally.chosen), 1))])
    return tally


def _by_file(
    files: Files, stretches: Iterable[Stretch], sums: Iterable[Checksum], whole: Sequence[str]
) -> dict[str, _InFile]:
    places: dict[str, tuple[list[Stretch], list[Checksum]]] = {path: ([], []) for path in whole}
    for stretch in stretches:
        places.setdefault(stretch.path, ([], []))[0].append(stretch)
    for checksum in sums:
        places.setdefault(checksum.path, ([], []))[1].append(checksum)
    return {path: _InFile(*both, files.size(path) if path in whole else None) for path, both in places.items()}


class _Line:
    """A queue of what is next, for several workers.

    Nothing is next once the time is used up, but for the very first.
    """

    def __init__(self, order: Iterator[tuple[str, int]], seconds: float | None) -> None:
        self._order, self._lock = order, Lock()
        self._end = None if seconds is None else monotonic() + seconds
        self._begun = False

    def __iter__(self) -> Iterator[tuple[str, int]]:
        while (item := self._next()) is not None:
            yield item

    def _next(self) -> tuple[str, int] | None:
        with self._lock:
            if self._begun and self._end is not None and monotonic() >= self._end:
                return None
            self._begun = True
            return next(self._order, None)


class _Sampler:
    """Reads what is next in line, and notes it."""

    def __init__(
        self,
        files: Files,
        wanted: Mapping[str, _InFile],
        others: Mapping[str, Piecewise],
        on_block: OnBlock | None,
        line: _Line,
        tally: Tally,
    ) -> None:
        self._files, self._wanted, self._others = files, wanted, others
        self._told, self._line, self._tally = on_block, line, tally
        self._lock = Lock()

    def work(self) -> None:
        buffer = memoryview(bytearray(BLOCK + _WIDEST))
        for name, number in self._line:
            other = self._others.get(name)
            if other is not None:
                other.read_piece(number)
            else:
                self._read_block(name, self._wanted[name].blocks[number], buffer)
            with self._lock:
                self._tally.read += 1
                self._tally.paths.add(name if other is None else other.path)

    def _read_block(self, path: str, number: int, buffer: memoryview) -> None:
        # What begins in the block is looked at whole: an element or a summed record may end behind it, so that the
        # read goes on to the last of them. A block with nothing in it is read for one byte, to see that it is there.
        start, there = number * BLOCK, self._wanted[path]
        stretches = there.stretches_in(start, start + BLOCK)
        stop = max(
            min(start + BLOCK, self._files.size(path)), start + 1, *(_last(consumer, start) for consumer in stretches)
        )
        sums = there.sums_in(start, stop)
        with self._lock:
            self._tally.blocks.setdefault(path, set()).add(number)
            self._tally.sums += sums
        data = self._read(path, start, buffer[: stop - start], [*stretches, *sums])
        if data is None:
            return
        if there.whole and self._told is not None:
            self._told(path, number, data[:BLOCK])
        for consumer in stretches:
            _show(consumer, start, data)
        for checksum in sums:
            checksum.see(data[checksum.start - start : checksum.end - start])

    def _read(self, path: str, start: int, out: memoryview, consumers: Sequence[ByteConsumer]) -> memoryview | None:
        try:
            self._files.read_into(path, start, out)
        except CkptError as error:
            with self._lock:
                for consumer in consumers:
                    consumer.fail(error)
                self._tally.errors += [] if consumers else [error]
            return None
        return out


def _show(consumer: Stretch, start: int, data: memoryview) -> None:
    """Show a consumer the elements that begin in the block."""
    first = _begin(consumer, max(consumer.start, start))
    last = _last(consumer, start)
    if first < last:
        consumer.see_part(data[first - start : last - start])


def _last(consumer: Stretch, start: int) -> int:
    """Return the end of the last element beginning in a block."""
    return _begin(consumer, min(consumer.end, start + BLOCK))


def _begin(consumer: Stretch, at: int) -> int:
    """Return the first start of an element at or behind a byte."""
    return consumer.start + -(-(at - consumer.start) // consumer.width) * consumer.width
