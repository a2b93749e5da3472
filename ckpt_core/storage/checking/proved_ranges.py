"""Two kinds of checked ranges, fed as they are read.

They are a record with a CRC-32, and the 1 MiB blocks of a seal.

A record's pieces may come in any order, since the sums of neighbours can be combined. A block's may not: what lies
before a piece is read by itself then, which is at most one block.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from threading import Lock

import xxhash

from ckpt_core.schema.byte_consumers import Sum
from ckpt_core.schema.side_files.seals import DIGEST_BYTES, FileSeal
from ckpt_core.storage.crc import combined, crc32
from ckpt_core.storage.digests import BLOCK, block_digest

Read = Callable[[int, int], Iterator[memoryview]]
"""The bytes from one offset of the file to another, in slabs; each valid until the next."""

_LAST = 1 << 62
"""An end behind every other."""


class Record:
    """A stretch of a file with a CRC-32.

    `proved` once it is known to hold, `wrong` once it is known not to.
    """

    def __init__(self, known: Sum) -> None:
        self.known = known
        self.start, self.end = known.start, known.end
        self.proved = self.wrong = False
        self._lock = Lock()
        self._pieces: list[tuple[int, int, int]] = []
        """Start, end and sum of what was seen, sorted and apart."""

    @property
    def begun(self) -> bool:
        return bool(self._pieces) and not self.proved and not self.wrong

    @property
    def pieces(self) -> list[tuple[int, int, int]]:
        """Start, end and sum of what was seen, sorted and apart."""
        return list(self._pieces)

    def take(self, start: int, end: int, crc: int) -> None:
        """Take in the sum of a piece that another rank has seen.

        One that overlaps what is known is passed over.
        """
        with self._lock:
            if self._gaps(start, end) == [(start, end)]:
                self._add(start, end, crc)
                self._judge()

    def see(self, start: int, data: memoryview) -> None:
        """Take in a part of the stretch.

        What was seen before is not looked at again.
        """
        with self._lock:
            for first, last in self._gaps(start, start + len(data)):
                self._see(first, last, data[first - start : last - start])
            self._judge()

    def finish(self, read: Read) -> None:
        """Read what was not seen."""
        with self._lock:
            for first, last in self._gaps(self.start, self.end):
                at = first
                for data in read(first, last):
                    self._see(at, at + len(data), data)
                    at += len(data)
            self._judge()

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        gaps, at = [], start
        for first, last, _ in self._pieces[max(bisect_right(self._pieces, (start, _LAST, 0)) - 1, 0) :]:
            if last <= at:
                continue
            if first >= end:
                break
            if first > at:
                gaps.append((at, first))
            at = last
        return [*gaps, (at, end)] if at < end else gaps

    def _see(self, start: int, end: int, data: memoryview) -> None:
        """Add a piece.

        Its sum goes on from that of the piece before it.
        """
        at = bisect_right(self._pieces, (start, _LAST, 0))
        before = self._pieces[at - 1] if at and self._pieces[at - 1][1] == start else None
        if before is None:
            self._add(start, end, crc32(data))
        else:
            self._pieces.pop(at - 1)
            self._add(before[0], end, crc32(data, before[2]))

    def _add(self, start: int, end: int, crc: int) -> None:
        pieces = self._pieces
        at = bisect_right(pieces, (start, _LAST, 0))
        if at and pieces[at - 1][1] == start:
            at -= 1
            first, _, before = pieces.pop(at)
            start, crc = first, combined(before, crc, end - start)
        if at < len(pieces) and pieces[at][0] == end:
            _, last, behind = pieces.pop(at)
            crc, end = combined(crc, behind, last - end), last
        pieces.insert(at, (start, end, crc))

    def _judge(self) -> None:
        if self._pieces and self._pieces[0][:2] == (self.start, self.end):
            self.proved = self._pieces[0][2] == self.known.crc
            self.wrong = not self.proved
            self._pieces = self._pieces[:1]


class Blocks:
    """The blocks of a sealed file.

    Those that are not what was sealed are in `wrong`.
    """

    def __init__(self, sealed: FileSeal) -> None:
        self._sealed = sealed
        self._proved = bytearray(len(sealed.blocks) // DIGEST_BYTES)
        self._open: dict[int, tuple[int, xxhash.xxh3_128]] = {}
        """Of blocks that were begun: up to where, and the digest so far."""
        self._lock = Lock()
        self.wrong: set[int] = set()

    def __len__(self) -> int:
        return len(self._proved)

    @property
    def proved(self) -> int:
        return sum(self._proved)

    @property
    def digests(self) -> bytes:
        """Those that were sealed, in the order of the blocks."""
        return self._sealed.blocks

    def bounds(self, number: int) -> tuple[int, int]:
        """Return a block's first byte, and the one behind it."""
        return number * BLOCK, min((number + 1) * BLOCK, self._sealed.size)

    def unproved(self, start: int, end: int) -> list[int]:
        """Return the unproved blocks between two offsets.

        A block counts that has bytes there.
        """
        if start >= end:
            return []
        return [number for number in range(start // BLOCK, (end - 1) // BLOCK + 1) if not self._proved[number]]

    def rest(self, most: int) -> Iterator[tuple[int, int]]:
        """Yield the unproved stretches of the file.

        Each is a start and an end, of at most so many blocks.
        """
        numbers = self.unproved(0, self._sealed.size)
        for place, number in enumerate(numbers):
            if place == 0 or number != numbers[place - 1] + 1:
                first = number
            if place + 1 == len(numbers) or numbers[place + 1] != number + 1 or number + 1 - first == most:
                yield self.bounds(first)[0], self.bounds(number)[1]
                first = number + 1

    def see(self, number: int, start: int, data: memoryview, read: Read | None) -> None:
        """Take a part of a block.

        Without `read`, what lies before the part is left to `finish`.
        """
        first, last = self.bounds(number)
        if start == first and start + len(data) == last:
            self._judge(number, block_digest(data))
            return
        with self._lock:
            at, digest = self._open.get(number) or (first, xxhash.xxh3_128())
            if start + len(data) <= at:
                return
            if at < start and read is None:
                self._open[number] = (at, digest)
                return
            if at < start:
                assert read is not None
                for gap in read(at, start):
                    digest.update(gap)
                at = start
            digest.update(data[at - start :])
            at = start + len(data)
            self._open[number] = (at, digest)
            if at == last:
                del self._open[number]
                self._judge(number, digest.digest())

    def finish(self, number: int, read: Read) -> None:
        """Read what of a block was not seen."""
        with self._lock:
            at, digest = self._open.get(number) or (self.bounds(number)[0], xxhash.xxh3_128())
            for data in read(at, self.bounds(number)[1]):
                digest.update(data)
            self._open.pop(number, None)
            self._judge(number, digest.digest())

    def begun(self) -> list[int]:
        return sorted(self._open)

    def seen(self, number: int) -> int:
        """Return how many bytes of a begun block were seen.

        They are counted from its start.
        """
        return self._open[number][0] - self.bounds(number)[0]

    def leave(self, number: int) -> None:
        """Leave a block to another rank, which proves it."""
        self._open.pop(number, None)

    def _judge(self, number: int, digest: bytes) -> None:
        if digest == self._sealed.blocks[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]:
            self._proved[number] = 1
        else:
            self.wrong.add(number)
