"""The parts of one file on its way into a store.

They are filled from all sides, put as soon as they are full, then forgotten.

What is known beforehand is filled in when a part begins, checksums as soon as the one tensor that they are of is
written. So a part waits for the tensors that have bytes in it, and for nothing else.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Lock

from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import AssetBytes, FilePlan, LateBytes, Literal, TensorBytes
from ckpt_core.storage.writing.sinks import asset_slabs, late_bytes, sections_at

Put = Callable[[int, bytearray], None]
"""Puts a part, by its index from 0, and returns once the store has it."""


class FileParts:
    """A file in parts.

    Args:
        file: What is to be in it.
        part_bytes: Of each part but the last.
        put: Called by the thread that filled a part, once for each.
        there: Indices of parts that the store has, whose bytes are dropped.
        mine: Whether this process puts a part; the bytes of others are dropped.
    """

    def __init__(
        self, file: FilePlan, part_bytes: int, put: Put, *, there: Collection[int], mine: Callable[[int], bool]
    ) -> None:
        self.file = file
        self.part_bytes = part_bytes
        self._put = put
        self._gone = set(there)
        self._mine = mine
        self._size = file.size
        self._open: dict[int, _Part] = {}
        self._crcs: dict[TensorBytes, int] = {}
        self._lock = Lock()
        small = [(at, one) for at, one in sections_at(file) if isinstance(one, Literal | LateBytes) and one.length]
        self._small = small
        self._starts = [at for at, _ in small]
        self._waiting: dict[TensorBytes, list[tuple[int, LateBytes]]] = {}
        for at, one in small:
            if isinstance(one, LateBytes) and one.of is not None:
                self._waiting.setdefault(one.of, []).append((at, one))

    @property
    def count(self) -> int:
        """Return the number of parts: one for an empty file."""
        return max(-(-self._size // self.part_bytes), 1)

    def touched(self, start: int, stop: int) -> range:
        """Return the indices of the parts that a stretch touches."""
        return range(
            start // self.part_bytes, -(-stop // self.part_bytes) if stop > start else start // self.part_bytes
        )

    def give(self, offset: int, data: memoryview | bytes) -> None:
        """Take bytes of the file, each given once.

        What falls into parts that are there, or another's, is dropped.
        """
        for index, at, piece in self._cut(offset, memoryview(data)):
            with self._lock:
                full = self._fill(index, at, piece) if self._wanted(index) else None
            if full is not None:
                self._put(index, full)

    def know(self, section: TensorBytes, crc: int) -> None:
        """Take the checksum of a section.

        What waits for it is filled in, in parts that have begun.
        """
        full: list[tuple[int, bytearray]] = []
        with self._lock:
            if section in self._crcs:
                return  # a file may have a tensor twice
            self._crcs[section] = crc
            for offset, late in self._waiting.get(section, ()):
                data = memoryview(late_bytes(self.file, late, {section: crc}))
                for index, at, piece in self._cut(offset, data):
                    if index in self._open and (filled := self._fill(index, at, piece)) is not None:
                        full.append((index, filled))
        for index, filled in full:
            self._put(index, filled)

    def finish(self, checkpoint: Checkpoint, crcs: Mapping[TensorBytes, int]) -> None:
        """Fill in what is left of the parts of this rank.

        All tensors are given, here and by every other rank.
        """
        for tensor in self._waiting.keys() - self._crcs.keys():
            self.know(tensor, crcs.get(tensor, 0))
        for index in range(self.count):
            with self._lock:
                full = self._begin(index) if self._wanted(index) and index not in self._open else None
            if full is not None:
                self._put(index, full)
        for offset, section in sections_at(self.file):
            if isinstance(section, LateBytes) and section.of is None:
                self.give(offset, late_bytes(self.file, section, crcs))
            elif isinstance(section, AssetBytes) and any(
                map(self._wanted, self.touched(offset, offset + section.length))
            ):
                for at, data in asset_slabs(checkpoint, section):
                    self.give(offset + at, data)
        left = [index for index in range(self.count) if self._wanted(index)]
        assert not left, f"{self.file.path}: parts {left} were never filled"

    def _wanted(self, index: int) -> bool:
        return index not in self._gone and self._mine(index)

    def _cut(self, offset: int, view: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """Yield bytes cut at the borders of parts.

        The index of each, where in the part, and what of them.
        """
        while len(view):
            index, at = divmod(offset, self.part_bytes)
            piece = view[: self.part_bytes - at]
            yield index, at, piece
            offset, view = offset + len(piece), view[len(piece) :]

    def _fill(self, index: int, at: int, piece: memoryview) -> bytearray | None:
        """Fill in bytes of a part; return it once it is full.

        It begins with them where it has not begun.
        """
        if index not in self._open:
            assert self._begin(index) is None, "a part that is full without them"
        part = self._open[index]
        part.data[at : at + len(piece)] = piece
        part.missing -= len(piece)
        return self._closed(index)

    def _begin(self, index: int) -> bytearray | None:
        """Begin a part with what is known already."""
        start = index * self.part_bytes
        stop = min(start + self.part_bytes, self._size)
        part = self._open[index] = _Part(bytearray(stop - start))
        for offset, section in self._small[
            max(bisect_right(self._starts, start) - 1, 0) : bisect_left(self._starts, stop)
        ]:
            data = self._known(section)
            first, last = max(offset, start), min(offset + len(data), stop)
            if first < last:
                part.data[first - start : last - start] = data[first - offset : last - offset]
                part.missing -= last - first
        return self._closed(index)

    def _known(self, section: Literal | LateBytes) -> bytes:
        """Return the bytes of a section where they are known by now.

        Else none.
        """
        if isinstance(section, Literal):
            return section.data
        if section.of is None or section.of not in self._crcs:
            return b""
        return late_bytes(self.file, section, {section.of: self._crcs[section.of]})

    def _closed(self, index: int) -> bytearray | None:
        if self._open[index].missing:
            return None
        self._gone.add(index)
        return self._open.pop(index).data


class _Part:
    """A part that has begun.

    It knows its bytes, and how many of them are not filled in yet.
    """

    __slots__ = ("data", "missing")

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self.missing = len(data)
