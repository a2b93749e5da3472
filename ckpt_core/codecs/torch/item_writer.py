"""Plans small torch files by the thousand, for `.distcp` files.

They lie one after the other in a larger file.

Laid out as torch's own writer lays them out: checksums stand behind the bytes and in the directory, so that all that
precedes the elements is known at once, and is the same for every tensor of a type and shape.

Sources: torch, `torch/serialization.py` and `caffe2/serialize/inline_container.cc` (padding, names); miniz, which
writes a descriptor of 16 bytes behind every record that is not empty, of 24 where an offset or a size needs 64 bits.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from struct import pack
from typing import NamedTuple

from ckpt_core.codecs.pickle.writer import write_pickle
from ckpt_core.codecs.torch.writer import stored_tensor
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.plans import LateBytes, Literal, Section, TensorBytes
from ckpt_core.schema.state import TensorRef
from ckpt_core.storage.crc import crc32

_ALIGNMENT = 64
_MAX32 = 0xFFFF_FFFF
_ELEMENTS = "archive/data/0"


def plan_tensor_item(content: TensorBytes, dtype: DType, shape: tuple[int, ...]) -> tuple[Section, ...]:
    """Plan a torch file that holds a tensor or its part.

    Args:
        content: The elements.
        dtype: Their type.
        shape: What the file says of their shape.

    Raises:
        UnsupportedFormatError: Torch has no such element type.
    """
    frame = _frame(dtype, shape)
    if not content.length:
        return frame.before, content, Literal(frame.behind)
    return frame.before, content, LateBytes(len(frame.behind), partial(_behind, frame, content), of=content)


class _Frame(NamedTuple):
    """A torch file without its elements.

    It has what precedes them and what follows, and where in that their checksum stands.
    """

    before: Literal
    behind: bytes
    checksums: tuple[int, ...]


@lru_cache(maxsize=4096)
def _frame(dtype: DType, shape: tuple[int, ...]) -> _Frame:
    tensor = stored_tensor("a tensor", dtype, shape, "0")
    nbytes = tensor.numel if tensor.dtype else dtype.nbytes(tensor.numel)
    archive = _Archive()
    archive.add("archive/data.pkl", write_pickle(TensorRef(""), tensor=lambda _: tensor))
    archive.add("archive/byteorder", b"little")
    archive.begin(_ELEMENTS, nbytes)
    before = Literal(bytes(archive.content))
    archive.skip(nbytes)
    start = len(archive.content)
    archive.close(0)
    archive.add("archive/version", b"3\n")
    behind = bytes(archive.content[start:]) + archive.end()
    directory_crc = archive.places[_ELEMENTS] - archive.skipped - start
    return _Frame(before, behind, (4, directory_crc) if nbytes else ())


def _behind(frame: _Frame, content: TensorBytes, crcs: Mapping[TensorBytes, int]) -> bytes:
    behind = bytearray(frame.behind)
    for at in frame.checksums:
        behind[at : at + 4] = pack("<I", crcs.get(content, 0))
    return bytes(behind)


class _Archive:
    """An archive as it grows.

    Only the length is known of a record whose bytes are skipped.

    Attributes:
        content: What was written, without skipped bytes.
        skipped: How many were.
        places: Once it has its end: where the checksum of each record stands in the directory, skipped bytes counted.
    """

    def __init__(self) -> None:
        self.content = bytearray()
        self.skipped = 0
        self.places: dict[str, int] = {}
        self._records: list[tuple[str, int, int, int]] = []
        self._open = ("", 0, 0)

    @property
    def _at(self) -> int:
        return len(self.content) + self.skipped

    def add(self, name: str, data: bytes) -> None:
        self.begin(name, len(data))
        self.content += data
        self.close(crc32(data))

    def begin(self, name: str, size: int) -> None:
        """Write the header of a record, with padding for alignment."""
        self._open = (name, self._at, size)
        raw = name.encode()
        padding = -(self._at + 30 + len(raw) + 4) % _ALIGNMENT
        header = pack("<4s5H3I2H", b"PK\x03\x04", 0, _flags(size), 0, 0, 0, 0, 0, 0, len(raw), padding + 4)
        self.content += header + raw + b"FB" + pack("<H", padding) + b"Z" * padding

    def skip(self, size: int) -> None:
        """Leave the bytes of the open record to the caller."""
        self.skipped += size

    def close(self, crc: int) -> None:
        """End the open record with its descriptor."""
        name, start, size = self._open
        self._records.append((name, start, size, crc))
        if size:
            wide = max(start, size) >= _MAX32
            self.content += b"PK\x07\x08" + pack("<IQQ" if wide else "<III", crc, size, size)

    def end(self) -> bytes:
        """Return the directory, and the end of the archive."""
        start, directory = self._at, bytearray()
        for name, offset, size, crc in self._records:
            self.places[name] = start + len(directory) + 16
            directory += _entry(name, offset, size, crc)
        count, length = len(self._records), len(directory)
        wide = b""
        if start >= _MAX32:
            wide = b"PK\x06\x06" + pack("<QHHIIQQQQ", 44, 0, 0, 0, 0, count, count, length, start)
            wide += b"PK\x06\x07" + pack("<IQI", 0, start + length, 1)
        last = pack("<4H2IH", 0, 0, count, count, length, min(start, _MAX32), 0)
        return bytes(directory) + wide + b"PK\x05\x06" + last


def _entry(name: str, offset: int, size: int, crc: int) -> bytes:
    wide = b""
    if size >= _MAX32:
        wide += pack("<QQ", size, size)
    if offset >= _MAX32:
        wide += pack("<Q", offset)
    extra = pack("<HH", 1, len(wide)) + wide if wide else b""
    shown, raw = min(size, _MAX32), name.encode()
    fields = (0, 0, _flags(size), 0, 0, 0, crc, shown, shown, len(raw), len(extra), 0, 0, 0, 0, min(offset, _MAX32))
    return b"PK\x01\x02" + pack("<6H3I5H2I", *fields) + raw + extra


def _flags(size: int) -> int:
    """Return the flags of a record.

    Names are UTF-8; a descriptor follows what is not empty.
    """
    return 0x808 if size else 0x800
