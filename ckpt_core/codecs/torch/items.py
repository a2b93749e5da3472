"""Reads tensors that torch.save wrote into ranges of files.

The items of a `.distcp` file are such.

Where an item's elements start and how they lie is only said inside of it: by its zip's directory and its pickle. The
first item of a kind is read by the strict reader of torch files, and makes a pattern; one that differs from it in
nothing but the elements, their checksum and torch's serialization id has them at the same place.

Source: torch, `torch/distributed/checkpoint/filesystem.py` (_write_item) and `torch/serialization.py`.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ckpt_core.codecs.torch.subfile import ItemFiles
from ckpt_core.codecs.zip.directory import HAS_DESCRIPTOR, Member, directory_places, read_archive
from ckpt_core.errors import CorruptError, UnsupportedFormatError
from ckpt_core.reading.boxes import FindChunk
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.state import TensorRef
from ckpt_core.schema.tensors import ByteRange, Chunk, Encoding
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.codecs.torch.file import TorchFile
    from ckpt_core.schema.byte_consumers import Sum
    from ckpt_core.schema.findings import Finding

TORCH_ZIP = "torch-zip"
"""Name of the encoding."""

# The records before and behind the elements: 704 and 873 bytes as torch 2.13 writes a matrix.
_HEAD = _TAIL = 2048
_MOST_KEPT = 1 << 14
_MOST_PATTERNS = 16
_MOST_LENGTHS = 1 << 12
_CRC_IN_DIRECTORY, _CRC_IN_DESCRIPTOR = 16, 4


class Item(NamedTuple):
    """A tensor in an item: its elements' start and strides.

    `start` is in bytes from the item's start. `strides` are in elements, None for row-major without gaps; `nbytes`
    reach from the first element to the last. `sums` are of its records, from the item's start.
    """

    dtype: DType
    shape: tuple[int, ...]
    start: int
    nbytes: int
    strides: tuple[int, ...] | None
    encoding: Encoding
    sums: "tuple[Sum, ...]" = ()


class _Pattern(NamedTuple):
    """An item that was read, without its elements.

    `fixed` are the stretches of `tail` that no content changes.
    """

    item: Item
    head: bytes
    tail: bytes
    fixed: tuple[tuple[int, int], ...]
    crc_at: int
    """Where in `tail` the checksum of the elements is."""

    def of(self, tail: bytes) -> Item:
        """Return the item that has this tail.

        Its elements have a checksum of their own.
        """
        at = self.crc_at + len(tail) - len(self.tail)
        crc = int.from_bytes(tail[at : at + 4], "little")
        sums = tuple(one._replace(crc=crc) for one in self.item.sums if one.start == self.item.start)
        return self.item._replace(sums=sums)

    def fits(self, head: bytes, tail: bytes) -> bool:
        own, shift = self.tail, len(tail) - len(self.tail)
        return head.startswith(self.head) and all(
            tail[shift + start : shift + stop] == own[start:stop] for start, stop in self.fixed
        )


def chunk_finder(files: Files) -> FindChunk:
    """Return a function that turns item chunks into raw ones.

    The chunks are items in files of `files`; it remembers what it found.

    It raises:
        CorruptError: DC020, the item is no torch file, or its tensor is not the one that the chunk is of; or what
            `reader.read_torch_file` raises.
        UnsupportedFormatError: DC021, the item is a tensor that is not plain and strided.
        UnsafeContentError: PK003, the item would run code.
    """
    reader = ItemReader(files)

    def find_chunk(chunk: Chunk) -> Chunk:
        stored = chunk.stored
        if stored is None or chunk.encoding.name != TORCH_ZIP:
            return chunk
        item = reader.item(stored)
        wanted = chunk.encoding.dtype or item.dtype
        if item.dtype is not wanted or item.shape != chunk.sizes:
            raise _corrupt(
                stored,
                f"holds {item.dtype.code} of shape {item.shape}, where {wanted.code} of {chunk.sizes} is expected",
            )
        place = ByteRange(stored.path, stored.offset + item.start, item.nbytes)
        files.expect(sums_in_file(item.sums, stored))
        return Chunk(chunk.offsets, chunk.sizes, place, item.strides, item.encoding, owner=chunk.owner)

    return find_chunk


def sums_in_file(sums: "Iterable[Sum]", stored: ByteRange) -> "list[Sum]":
    """Return an item's checksums at their place in the file."""
    return [
        one._replace(
            path=stored.path,
            start=one.start + stored.offset,
            end=one.end + stored.offset,
            damage=partial(_damage, one, stored),
        )
        for one in sums
    ]


def _damage(one: "Sum", stored: ByteRange) -> "Finding":
    finding = one.damage()
    message = finding.message.removeprefix(f"{printable(stored.path)}: ")
    return replace(finding, message=f"{_where(stored)}: {message}", path=stored.path)


def read_object(files: Files, stored: ByteRange) -> "TorchFile":
    """Read what torch.save wrote into a range.

    Whatever it is; the places of its tensors are relative to the range. Raises as `reader.read_torch_file`; nothing
    outside of the range is read.
    """
    from ckpt_core.codecs.torch.reader import read_torch_file

    item = ItemFiles(files, stored)
    try:
        file = read_torch_file(item, stored.path)
    except UnsupportedFormatError as error:
        if error.code != "FM001" and any(name.endswith("/data.pkl") for name in read_archive(item, stored.path)):
            raise
        # An item is no file of its own: what begins like another program's is the wrong place.
        message = f"{_where(stored)}: no item begins there; get the file again, and the .metadata with it"
        raise CorruptError(message, code="TF001", path=stored.path) from None
    file.confirm()
    return file


class ItemReader:
    """Reads where the elements of items are.

    Any thread may use it: what two find at once is the same.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._found: dict[tuple[str, int, int], Item] = {}
        self._patterns: dict[int, tuple[_Pattern, ...]] = {}

    def item(self, stored: ByteRange) -> Item:
        """Return the tensor in an item.

        Nothing outside of its range is read.
        """
        key = (stored.path, stored.offset, stored.length)
        item = self._found.get(key)
        if item is None:
            item = self._read(stored)
            if len(self._found) >= _MOST_KEPT:
                self._found = {}
            self._found[key] = item
        return item

    def _read(self, stored: ByteRange) -> Item:
        patterns = self._patterns.get(stored.length, ())
        head, tail = self._ends(stored)
        for pattern in patterns:
            if pattern.fits(head, tail):
                return pattern.of(tail)
        item = _read_strictly(self._files, stored)
        self._learn(item, ItemFiles(self._files, stored), stored, head, tail)
        return item

    def _ends(self, stored: ByteRange) -> tuple[bytes, bytes]:
        if stored.length <= _HEAD + _TAIL:
            whole = self._files.read(stored.path, stored.offset, stored.length)
            return whole, whole
        ends = ByteRange(stored.path, stored.offset, _HEAD), ByteRange(stored.path, stored.end - _TAIL, _TAIL)
        head, tail = self._files.read_many(ends)
        return head, tail

    def _learn(self, item: Item, files: ItemFiles, stored: ByteRange, head: bytes, tail: bytes) -> None:
        patterns = self._patterns.get(stored.length, ())
        if len(patterns) >= _MOST_PATTERNS or len(self._patterns) >= _MOST_LENGTHS:
            return
        made = _pattern(item, files, stored, head, tail)
        if made is not None:
            self._patterns[stored.length] = (*patterns, made)


def _read_strictly(files: Files, stored: ByteRange) -> Item:
    file = read_object(files, stored)
    if not isinstance(file.root, TensorRef):
        if any(finding.code == "TF004" for finding in file.findings):
            raise UnsupportedFormatError(
                f"{_where(stored)} holds a tensor that is not plain and strided; load it with torch",
                code="DC021",
                path=stored.path,
            )
        raise _corrupt(stored, "holds something that is no tensor")
    entry = file.tensors[file.root.name]
    chunk = entry.chunks[0]
    assert chunk.stored is not None
    start, nbytes = chunk.stored.offset + chunk.at, chunk.stored.length
    sums = tuple(one for checksum in file.checksums() for one in checksum.sums())
    return Item(entry.dtype, entry.shape, start, nbytes, chunk.strides, chunk.encoding, sums)


def _pattern(item: Item, files: ItemFiles, stored: ByteRange, head: bytes, tail: bytes) -> _Pattern | None:
    """Return the pattern of an item with these ends.

    None where torch would write it otherwise.
    """
    members = read_archive(files, stored.path)
    content = [m for m in members.values() if m.name.endswith("/.data/serialization_id") or "/data/" in m.name]
    payloads = [m for m in content if "/.data/" not in m.name]
    if len(payloads) != 1 or payloads[0].data_offset > len(head) or any(m.deflated for m in members.values()):
        return None
    begin, tail_start = payloads[0].end, stored.length - len(tail)
    if begin < tail_start:
        return None
    places = directory_places(files, stored.path)
    blanks = sorted(blank for member in content for blank in _blanks(member, places[member.name], payloads[0]))
    own = tail[begin - tail_start :]
    fixed, at = [], begin
    for start, stop in blanks:
        fixed.append((at - begin, start - begin))
        at = stop
    fixed.append((at - begin, stored.length - begin))
    crc_at = places[payloads[0].name] + _CRC_IN_DIRECTORY - begin
    return _Pattern(item, head[: payloads[0].data_offset], own, tuple(fixed), crc_at)


def _blanks(member: Member, place: int, payload: Member) -> list[tuple[int, int]]:
    """Return the bytes that change with a record's content.

    They are its checksum in two places, and itself where it is no payload.
    """
    blanks = [(place + _CRC_IN_DIRECTORY, place + _CRC_IN_DIRECTORY + 4)]
    if member is not payload:
        blanks.append((member.data_offset, member.end))
    if member.flags & HAS_DESCRIPTOR:
        at = member.end + _CRC_IN_DESCRIPTOR
        blanks.append((at, at + 4))
    return blanks


def _where(stored: ByteRange) -> str:
    return f"{printable(stored.path)}: the item at byte {stored.offset}"


def _corrupt(stored: ByteRange, reason: str) -> CorruptError:
    return CorruptError(f"{_where(stored)} {reason}; get the file again", code="DC020", path=stored.path)
