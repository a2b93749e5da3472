"""The table of a version: its files as pieces of objects.

A file is segments, one after the other; a segment is a stretch of a piece; a piece is what has a digest, a tensor as a
rule, and lies somewhere in an object. Everything but names is in packed arrays, so that twenty thousand tensors open
without twenty thousand objects.

8 bytes          length of the header, little-endian
header           JSON: files, objects, kinds of pieces, what lies beside the files, and lengths of the arrays
arrays           of pieces: kind, object (4 bytes each), offset, length (8), digest (32); of segments: piece (4), start,
                 length (8)
beside           the seal of the files, and its blocks
"""

import hashlib
import json
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from ckpt_core.errors import CorruptError
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.field_checks import TABLE, require_fields
from ckpt_core.storage.versions.names import is_object_key

SCHEMA = "ckpt/version-table@1"
DIGEST = 32
_PIECES = "IIQQ"
_SEGMENTS = "IQQ"


class Piece(NamedTuple):
    """Bytes that have a digest, and where they lie.

    Attributes:
        kind: What is digested before the bytes: type and shape of a tensor, or that they are plain bytes.
        digest: SHA-256 of kind and bytes.
        stored: The object, and the place in it.
    """

    kind: str
    digest: bytes
    stored: ByteRange


class Segment(NamedTuple):
    """A stretch of a piece, `start` and `length` in bytes."""

    piece: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class FileRows:
    """A file of a version: its size, and its segments."""

    size: int
    first: int
    count: int


class VersionTable:
    """A table as it is read; see `encode_table`.

    Args:
        files: The files, by path, in order.
        objects: Sizes of the objects, by key below the store, in order.
        kinds: Kinds of pieces.
        pieces: Arrays of kind, object, offset, length.
        digests: Of all pieces, 32 bytes each.
        segments: Arrays of piece, start, length.
        beside: Small files that lie beside the others.
        key: Its own key, for messages.
    """

    def __init__(
        self,
        files: Mapping[str, FileRows],
        objects: Mapping[str, int],
        kinds: Sequence[str],
        pieces: Sequence["array[int]"],
        digests: memoryview | bytes,
        segments: Sequence["array[int]"],
        beside: Mapping[str, memoryview | bytes],
        key: str = "",
    ) -> None:
        self.files, self.objects, self.kinds, self.beside, self._key = files, objects, kinds, beside, key
        self._names, self._sizes = list(objects), list(objects.values())
        self._pieces, self._digests, self._segments = pieces, digests, segments
        self._ends: dict[str, list[int]] = {}

    def pieces(self) -> Iterator[Piece]:
        """Yield every piece once."""
        return map(self.piece, range(len(self._pieces[0])))

    def piece(self, number: int) -> Piece:
        kind, holder, offset, length = (one[number] for one in self._pieces)
        digest = bytes(self._digests[number * DIGEST : (number + 1) * DIGEST])
        return Piece(self.kinds[kind], digest, ByteRange(self._names[holder], offset, length))

    def content(self) -> str:
        """Return the SHA-256 of what the files are; see `content_of`."""
        rows = list(map(Segment, *self._segments))
        files = {path: (one.size, rows[one.first : one.first + one.count]) for path, one in self.files.items()}
        return content_of(files, list(self.pieces()))

    def stored(self, path: str, offset: int, length: int) -> Iterator[ByteRange]:
        """Yield where a stretch of a file lies, in order.

        Raises:
            CorruptError: VS002, the table contradicts itself.
        """
        holder, start, end = -1, 0, 0
        for one, at, count in self._stretches(path, offset, length):
            if one == holder and at == end:  # what was stored in turn is read in turn
                end += count
                continue
            if end > start:
                yield ByteRange(self._names[holder], start, end - start)
            holder, start, end = one, at, at + count
        if end > start:
            yield ByteRange(self._names[holder], start, end - start)

    def _stretches(self, path: str, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yield object, offset and length of each segment's part."""
        rows = self.files[path]
        ends = self._ends.get(path) or self._ends_of(path, rows)
        at = bisect_right(ends, offset)
        pieces, starts, lengths = self._segments
        _, holders, offsets, held = self._pieces
        while length > 0:
            number = rows.first + at
            piece, within = pieces[number], offset - (ends[at] - lengths[number])
            inside = piece < len(held) and starts[number] + lengths[number] <= held[piece]
            if not inside or offsets[piece] + held[piece] > self._sizes[holders[piece]]:
                raise self._broken()
            count = min(lengths[number] - within, length)
            yield holders[piece], offsets[piece] + starts[number] + within, count
            offset, length, at = offset + count, length - count, at + 1

    def _ends_of(self, path: str, rows: FileRows) -> list[int]:
        """Return where the segments of a file end in it."""
        ends = list(accumulate(self._segments[2][rows.first : rows.first + rows.count]))
        if (ends[-1] if ends else 0) != rows.size:
            raise self._broken()
        return self._ends.setdefault(path, ends)

    def _broken(self) -> CorruptError:
        return _not_a_table(self._key, "it contradicts itself")


def encode_table(
    files: Mapping[str, tuple[int, Sequence[Segment]]],
    pieces: Sequence[Piece],
    objects: Mapping[str, int],
    beside: Mapping[str, bytes],
) -> bytes:
    """Return the bytes of a table.

    Args:
        files: Size and segments of each file, by path.
        pieces: What the segments count.
        objects: The size of each object that a piece lies in.
        beside: Small files that lie beside the others.
    """
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(piece.kind for piece in pieces))}
    numbers = {name: number for number, name in enumerate(objects)}
    segments = [segment for _, own in files.values() for segment in own]
    header = {
        "schema": SCHEMA,
        "files": [[path, size, len(own)] for path, (size, own) in files.items()],
        "objects": [[name, size] for name, size in objects.items()],
        "kinds": list(kinds),
        "pieces": len(pieces),
        "segments": len(segments),
        "beside": [[name, len(data)] for name, data in beside.items()],
    }
    text = json.dumps(header, separators=(",", ":")).encode("utf-8", "surrogatepass")
    rows = [(kinds[one.kind], numbers[one.stored.path], one.stored.offset, one.stored.length) for one in pieces]
    columns = [_packed(code, [row[at] for row in rows]) for at, code in enumerate(_PIECES)]
    digests = b"".join(one.digest for one in pieces)
    own = [_packed(code, [segment[at] for segment in segments]) for at, code in enumerate(_SEGMENTS)]
    return b"".join((len(text).to_bytes(8, "little"), text, *columns, digests, *own, *beside.values()))


def parse_table(data: bytes, key: str, digest: str) -> VersionTable:
    """Return the table that an object holds.

    Args:
        data: The bytes of the object.
        key: Its key, for messages.
        digest: SHA-256 of the bytes that were stored.

    Raises:
        CorruptError: VS002, it is none, or another one.
    """
    if hashlib.sha256(data).hexdigest() != digest:
        raise _not_a_table(key, "its SHA-256 is not the one that its record has")
    try:
        view, size = memoryview(data), int.from_bytes(data[:8], "little")
        header = json.loads(bytes(view[8 : 8 + size]).decode("utf-8", "surrogatepass"))
        if header["schema"] != SCHEMA:
            raise ValueError(header["schema"])
        require_fields(header, TABLE)
        cut = _Cut(view, 8 + size)
        pieces = [cut.column(code, header["pieces"]) for code in _PIECES]
        digests = cut.bytes(header["pieces"] * DIGEST)
        segments = [cut.column(code, header["segments"]) for code in _SEGMENTS]
        beside = {name: cut.bytes(length) for name, length in header["beside"]}
        files, first = {}, 0
        for path, length, count in header["files"]:
            files[path] = FileRows(length, first, count)
            first += count
        objects, kinds = dict(header["objects"]), header["kinds"]
        if max(pieces[0], default=-1) >= len(kinds) or max(pieces[1], default=-1) >= len(objects):
            raise ValueError("a piece of no kind or object")
        if any(map(_leads_out, files)) or not all(map(is_object_key, objects)):
            raise ValueError("a name leads out of it")
        return VersionTable(files, objects, kinds, pieces, digests, segments, beside, key)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _not_a_table(key, type(error).__name__) from None


def content_of(files: Mapping[str, tuple[int, Sequence[Segment]]], pieces: Sequence[Piece]) -> str:
    """Return the SHA-256 of what files are, wherever their pieces lie."""
    digest = hashlib.sha256()
    for path, (size, segments) in sorted(files.items()):
        name = path.encode("utf-8", "surrogatepass")
        digest.update(len(name).to_bytes(8, "little") + name + size.to_bytes(8, "little"))
        for number, start, length in segments:
            digest.update(pieces[number].digest + start.to_bytes(8, "little") + length.to_bytes(8, "little"))
    return digest.hexdigest()


class _Cut:
    """The rest of a table's bytes, taken from the front."""

    def __init__(self, view: memoryview, at: int) -> None:
        self._view, self._at = view, at

    def bytes(self, size: int) -> memoryview:
        found = self._view[self._at : self._at + size]
        if len(found) != size or size < 0:
            raise ValueError("ends early")
        self._at += size
        return found

    def column(self, code: str, count: int) -> "array[int]":
        made = array(code)
        made.frombytes(self.bytes(count * made.itemsize))
        if sys.byteorder == "big":
            made.byteswap()
        return made


def _packed(code: str, values: Sequence[int]) -> bytes:
    made = array(code, values)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def _not_a_table(key: str, reason: str) -> CorruptError:
    return CorruptError(
        f"{printable(key)}: not the table of a version ({reason}); bring the object back from a copy of the store",
        code="VS002",
        path=key,
    )


def _leads_out(name: str) -> bool:
    return name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/"))
