"""The places of pieces that may be named again.

They are sorted rows of a digest and a place.

Each publication adds an index of what it has stored. The record of a version names the indexes that hold then: few,
since as many rows as the last one has are merged with it.

8 bytes   length of the header, little-endian
header    JSON: the objects, and how many rows
rows      digest (32), object (4), offset (8), length (8), sorted by digest
"""

import json
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from ckpt_core.errors import CorruptError
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.table import DIGEST

SCHEMA = "ckpt/version-index@1"
_ROW = struct.Struct("<32sIQQ")


class Index:
    """The rows of one index.

    Args:
        sizes: The objects, by their keys, in order, with their sizes.
        rows: The packed rows.
    """

    def __init__(self, sizes: Mapping[str, int], rows: bytes | memoryview) -> None:
        self.sizes, self._objects, self._rows = sizes, list(sizes), memoryview(rows)

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def __iter__(self) -> Iterator[tuple[bytes, ByteRange]]:
        for digest, holder, offset, length in _ROW.iter_unpack(self._rows):
            yield digest, ByteRange(self._objects[holder], offset, length)

    def find(self, digest: bytes) -> ByteRange | None:
        """Return the place of a piece; None where it is unknown."""
        at = bisect_left(range(len(self)), digest, key=self._digest)
        if at == len(self) or self._digest(at) != digest:
            return None
        _, holder, offset, length = _ROW.unpack_from(self._rows, at * _ROW.size)
        return ByteRange(self._objects[holder], offset, length)

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
    return b"".join((len(header).to_bytes(8, "little"), header, *rows))


def parse_index(data: bytes, key: str) -> Index:
    """Return the index that an object holds.

    Raises:
        CorruptError: VS002, it is none.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        rows = memoryview(data)[8 + size :]
        if header["schema"] != SCHEMA or len(rows) != header["rows"] * _ROW.size:
            raise ValueError(header["schema"])
        return Index(dict(header["objects"]), rows)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(
            f"{printable(key)}: not an index of a store of versions ({type(error).__name__}); bring the object back "
            "from a copy of the store",
            code="VS002",
            path=key,
        ) from None
