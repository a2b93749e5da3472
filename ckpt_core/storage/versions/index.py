"""The places of pieces that may be named again.

They are sorted rows of a digest and a place.

Each publication adds an index of what it has stored. The record of a version names the indexes that hold then: few,
since as many rows as the last one has are merged with it.

8 bytes   length of the header, little-endian
header    JSON: the objects, and how many rows
rows      digest (32), object (4), offset (8), length (8), sorted by digest
32 bytes  SHA-256 of all that is before it
"""

import hashlib
import json
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from ckpt_core.errors import CorruptError
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.names import is_object_key
from ckpt_core.storage.versions.table import DIGEST

SCHEMA = "ckpt/version-index@1"
_ROW = struct.Struct("<32sIQQ")


class Index:
    """The rows of one index.

    Args:
        sizes: The objects, by their keys, in order, with their sizes.
        rows: The packed rows.
        key: Its own key, for messages.
    """

    def __init__(self, sizes: Mapping[str, int], rows: bytes | memoryview, key: str = "") -> None:
        self.sizes, self._objects, self._rows, self._key = sizes, list(sizes.items()), memoryview(rows), key

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def __iter__(self) -> Iterator[tuple[bytes, ByteRange]]:
        for digest, holder, offset, length in _ROW.iter_unpack(self._rows):
            yield digest, self._place(holder, offset, length)

    def find(self, digest: bytes, size: int) -> ByteRange | None:
        """Return the place of a piece; None where it is unknown.

        Args:
            digest: Its SHA-256.
            size: Its bytes.

        Raises:
            CorruptError: VS002, what the index has of it cannot be.
        """
        at = bisect_left(range(len(self)), digest, key=self._digest)
        if at == len(self) or self._digest(at) != digest:
            return None
        _, holder, offset, length = _ROW.unpack_from(self._rows, at * _ROW.size)
        if length != size:
            raise _not_an_index(self._key, f"{length} bytes instead of {size}")
        return self._place(holder, offset, length)

    def _place(self, holder: int, offset: int, length: int) -> ByteRange:
        if holder >= len(self._objects) or offset + length > self._objects[holder][1]:
            raise _not_an_index(self._key, "a place outside of its object")
        return ByteRange(self._objects[holder][0], offset, length)

    def _digest(self, row: int) -> bytes:
        at = row * _ROW.size
        return bytes(self._rows[at : at + DIGEST])


def index_of(pieces: Mapping[bytes, ByteRange], sizes: Mapping[str, int]) -> bytes:
    """Return the bytes of an index.

    Args:
        pieces: Where each piece lies, by its digest.
        sizes: The size of each object.
    """
    objects = {name: number for number, name in enumerate(dict.fromkeys(one.path for one in pieces.values()))}
    listed = [[name, sizes[name]] for name in objects]
    header = json.dumps({"schema": SCHEMA, "objects": listed, "rows": len(pieces)}).encode()
    rows = [_ROW.pack(digest, objects[one.path], one.offset, one.length) for digest, one in sorted(pieces.items())]
    data = b"".join((len(header).to_bytes(8, "little"), header, *rows))
    return data + hashlib.sha256(data).digest()


def parse_index(data: bytes, key: str) -> Index:
    """Return the index that an object holds.

    Raises:
        CorruptError: VS002, it is none.
    """
    try:
        view, size = memoryview(data)[:-DIGEST], int.from_bytes(data[:8], "little")
        if hashlib.sha256(view).digest() != data[-DIGEST:]:
            raise ValueError("SHA-256")
        header, rows = json.loads(bytes(view[8 : 8 + size])), view[8 + size :]
        if header["schema"] != SCHEMA or len(rows) != header["rows"] * _ROW.size:
            raise ValueError(header["schema"])
        sizes = dict(header["objects"])
        if not all(is_object_key(name) and type(length) is int for name, length in sizes.items()):
            raise ValueError("objects")
        return Index(sizes, rows, key)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_an_index(key, type(error).__name__) from None


def _not_an_index(key: str, reason: str) -> CorruptError:
    return CorruptError(
        f"{printable(key)}: not an index of a store of versions ({reason}); bring the object back from a copy of the "
        "store",
        code="VS002",
        path=key,
    )
