"""Reads the two records that fill a `.metadata`.

Stored boxes, and where they are, are taken in by the thousand.

One expression matches each as torch's pickler writes it; what it does not match, the machine reads opcode by opcode.
Source: torch, `torch/distributed/checkpoint/metadata.py` (ChunkStorageMetadata, MetadataIndex) and `filesystem.py`
(_StorageInfo); CPython, `Modules/_pickle.c` (save_reduce).
"""

import re
from array import array
from typing import Any

from ckpt_core.codecs import HookValue, Machine

_INTEGER = rb"(?:K.|M..|J...[\x00-\x7f]|\x8a(?:\x05.{4}|\x06.{5}|\x07.{6}|\x08.{7})[\x00-\x7f])"
_DIMENSIONS = rb"(\)|%s\x85\x94|%s{2}\x86\x94|%s{3}\x87\x94|\(%s{4,64}t\x94)" % ((_INTEGER,) * 4)
_INTEGERS = re.compile(_INTEGER, re.DOTALL)
_OBJECT = rb"\)\x81\x94}\x94\("
_GET = rb"(h.|j....)"
_MOST_RECENT = 4096


class Boxes(HookValue):
    """Chunks of one tensor: offsets and sizes in turn."""

    __slots__ = ("flat",)

    def __init__(self) -> None:
        self.flat: list[tuple[int, ...]] = []


class Rows(HookValue):
    """Rows of a storage table, from `start` up to `stop`."""

    __slots__ = ("start", "stop")

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop


class StorageTable:
    """The places of items, a row each.

    A row takes a few bytes.

    Attributes:
        names: The flat key of each row.
        places: The offsets of the box in its tensor; None for an item that is no tensor.
        paths: Number of the file in `files`.
        offsets: First byte of the item in the file.
        lengths: Bytes of the item.
        files: Relative paths, as the metadata has them.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.places: list[tuple[int, ...] | None] = []
        self.paths = array("I")
        self.offsets = array("q")
        self.lengths = array("q")
        self.files: list[str] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, path: str) -> int:
        """Return the number of a file."""
        number = self._numbers.get(path)
        if number is None:
            number = self._numbers[path] = len(self.files)
            self.files.append(path)
        return number

    def add(self, name: str, place: tuple[int, ...] | None, path: str, offset: int, length: int) -> int:
        """Add a row and return its number."""
        self.names.append(name)
        self.places.append(place)
        self.paths.append(self.number(path))
        self.offsets.append(offset)
        self.lengths.append(length)
        return len(self.names) - 1


class Shapes:
    """Sizes by their spelling in the stream.

    Each is decoded once, with the number of values that it memoizes.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, tuple[tuple[int, ...], int]] = {}

    def __call__(self, spelled: bytes) -> tuple[tuple[int, ...], int]:
        numbers = tuple(integer(number) for number in _INTEGERS.findall(spelled))
        decoded = self.known[spelled] = (numbers, 3 if numbers else 2)
        return decoded


def integer(spelled: bytes) -> int:
    """Return the value of an integer's opcode.

    It is not negative.
    """
    return int.from_bytes(spelled[2:] if spelled[0] == 0x8A else spelled[1:], "little")


class BoxHook:
    """Takes in runs of ChunkStorageMetadata."""

    def __init__(self, full_name: str, shapes: Shapes) -> None:
        self._full_name = full_name
        self._shapes = shapes
        self._pattern = _Pattern()

    def __call__(self, machine: Machine, at: int) -> int:
        indexes = _indexes(machine, ("offsets", "sizes"), (self._full_name, "torch.Size"))
        if indexes is None:
            return at
        match = self._pattern.of(indexes, _box_pattern)
        start = position = at - len(_get(indexes[2]))
        boxes, memoized, known = Boxes(), 0, self._shapes.known
        add = boxes.flat.append
        while (record := match(machine.data, position)) is not None:
            spelled, other = record.groups()
            offsets, first = known.get(spelled) or self._shapes(spelled)
            sizes, second = known.get(other) or self._shapes(other)
            add(offsets)
            add(sizes)
            memoized += 2 + first + second
            position = record.end()
        if position == start:
            return at
        machine.stack[-1] = boxes
        machine.swallowed(start, position, memoized)
        return position


class StorageHook:
    """Takes in the keys and values of `storage_data`.

    They are runs of MetadataIndex and _StorageInfo.
    """

    def __init__(self, index_name: str, info_name: str, shapes: Shapes, table: StorageTable) -> None:
        self._names = index_name, info_name, "torch.Size"
        self._shapes = shapes
        self._table = table
        self._pattern = _Pattern()
        self._known: dict[bytes, str] = {}
        self._recent: dict[int, str] = {}
        self._files: dict[bytes, int] = {}

    def __call__(self, machine: Machine, at: int) -> int:
        indexes = _indexes(machine, ("fqn", "index", "offset", "relative_path", "length"), self._names)
        if indexes is None:
            return at
        match = self._pattern.of(indexes, _storage_pattern)
        first, start = len(self._table), at - len(_get(indexes[5]))
        if len(self._recent) > _MOST_RECENT:
            self._recent = {}
        position, memoized = self._rows(machine, match, start)
        if position == start:
            return at
        machine.stack[-1:] = [Rows(first, len(self._table)), None]
        machine.swallowed(start, position, memoized)
        return position

    def _rows(self, machine: Machine, match: Any, position: int) -> tuple[int, int]:
        """Add rows as far as they match.

        Returns where that ends, and how many values they memoize.

        A million rows come through here, so nothing is called that need not be.
        """
        data, count, start, number_of = machine.data, machine.count, machine.count, int.from_bytes
        known, recent, files, shapes, table = self._known, self._recent, self._files, self._shapes.known, self._table
        while (record := match(data, position)) is not None:
            got, spelled, dims, path, offset, length = record.groups()
            file = files.get(path)
            shape = (None, 0) if dims is None else shapes.get(dims) or self._shapes(dims)
            name = known.get(spelled) if got is None else self._referred(machine, got)
            if file is None or name is None:
                file, name = self._file(machine, path), name or self._new_name(spelled)
                if file is None or name is None:
                    break
            table.names.append(name)
            table.places.append(shape[0])
            table.paths.append(file)
            table.offsets.append(number_of(offset[1:] if offset[0] != 0x8A else offset[2:], "little"))
            table.lengths.append(number_of(length[1:] if length[0] != 0x8A else length[2:], "little"))
            if got is None:
                recent[count + 2] = name
                count += 1
            count += 4 + shape[1]
            position = record.end()
        return position, count - start

    def _file(self, machine: Machine, path: bytes) -> int | None:
        """Return the number of a file by its GET.

        None where the path is not at hand.
        """
        text = machine.memo.get(int.from_bytes(path[1:], "little"))
        if type(text) is not str:
            return None
        return self._files.setdefault(path, self._table.number(text))

    def _referred(self, machine: Machine, got: bytes) -> str | None:
        at = int.from_bytes(got[1:], "little")
        name = machine.memo.get(at) or self._recent.get(at)
        return name if type(name) is str else None

    def _new_name(self, spelled: bytes | None) -> str | None:
        """Return the text of a string.

        Its first byte has the length of it; None where it is another's.
        """
        if spelled is None or spelled[0] != len(spelled) - 1:
            return None
        return self._known.setdefault(spelled, spelled[1:].decode("ascii"))


class _Pattern:
    """An expression that refers to memo indexes, made anew when they change."""

    def __init__(self) -> None:
        self._indexes: tuple[int, ...] = ()
        self._match: Any = None

    def of(self, indexes: tuple[int, ...], make: Any) -> Any:
        if indexes != self._indexes:
            gets = [re.escape(_get(index)) for index in indexes]
            self._indexes, self._match = indexes, re.compile(make(*gets), re.DOTALL).match
        return self._match


def _indexes(machine: Machine, texts: tuple[str, ...], names: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the memo indexes of texts, then of names.

    None where the stream has not had one of them yet.
    """
    indexes = [machine.texts.get(text) for text in texts] + [machine.names.get(name) for name in names]
    return None if None in indexes else tuple(index for index in indexes if index is not None)


def _get(index: int) -> bytes:
    return b"h%c" % index if index < 256 else b"j" + index.to_bytes(4, "little")


# A box, as protocol 4 writes it once the class and the two keys are in the memo (h = BINGET, j = LONG_BINGET):
#
#     h<ChunkStorageMetadata>  )  \x81  \x94            the class, no arguments, NEWOBJ, MEMOIZE
#     }  \x94  (                                       its __dict__, and a mark
#     h<"offsets">  h<torch.Size>  K0 K0 \x86 \x94      the key; Size of a pair, memoized
#                   \x85 \x94  R  \x94                  as its one argument, called, memoized
#     h<"sizes">    h<torch.Size>  K5 K2 \x86 \x94  \x85 \x94  R  \x94
#     u  b                                            SETITEMS, BUILD
#
# Each \x94 takes the next number of the memo, so that what is passed over must be counted: later GETs refer to it.
def _box_pattern(offsets: bytes, sizes: bytes, chunk: bytes, size: bytes) -> bytes:
    made = size + _DIMENSIONS + rb"\x85\x94R\x94"
    return chunk + _OBJECT + offsets + made + sizes + made + b"ub"


def _storage_pattern(
    fqn: bytes, index: bytes, offset: bytes, path: bytes, length: bytes, key: bytes, info: bytes, size: bytes
) -> bytes:
    place = rb"(?:" + offset + size + _DIMENSIONS + rb"\x85\x94R\x94)?"
    name = fqn + rb"(?:" + _GET + rb"|\x8c(.[\x00-\x7f]*)\x94)"
    head = key + _OBJECT + name + index + rb"(?:N|" + _INTEGER + rb")" + place + b"ub"
    where = path + _GET + offset + rb"(" + _INTEGER + rb")" + length + rb"(" + _INTEGER + rb")"
    return head + info + _OBJECT + where + b"ub"
