"""Plans zip archives: stored records with aligned bytes.

Checksums are filled in when they are known.

Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16; zip64 fields where a size or an offset needs
them (4.5.3). Padding goes into an extra field `FB`, as torch's own writer does, so that `mmap=True` gives aligned
tensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import pack

from ckpt_core.schema.plans import LateBytes, Literal, Section, TensorBytes
from ckpt_core.storage.crc import combined, crc32

_ALIGNMENT = 64
_MAX32 = 0xFFFF_FFFF
_MAX16 = 0xFFFF
_PADDING = b"FB"
_ZIP64 = 1
# A flag: the name is UTF-8, where it is not ASCII.
_UTF8 = 0x0800
# 1 January 1980, the earliest there is: the same input makes the same bytes.
_DATE = 0x0021


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the archive: its name and content.

    A head, such as that of numpy's arrays, may precede the content.
    """

    name: str
    content: Literal | TensorBytes
    head: bytes = b""

    @property
    def size(self) -> int:
        return len(self.head) + self.content.length


@dataclass(frozen=True, slots=True)
class _Placed:
    record: Record
    offset: int


def plan_zip(records: Sequence[Record]) -> tuple[Section, ...]:
    """Return the sections of an archive of these records."""
    sections: list[Section] = []
    placed: list[_Placed] = []
    at = 0
    for record in records:
        item = _Placed(record, at)
        placed.append(item)
        header = _header(item)
        sections += [header, *([Literal(record.head)] if record.head else []), record.content]
        at += header.length + record.size
    end = _end(len(placed), at, len(_directory(placed, {})))
    length = len(_directory(placed, {}))
    sections.append(LateBytes(length, lambda crcs: _directory(placed, crcs)))
    sections.append(Literal(end))
    return tuple(sections)


def _header(item: _Placed) -> Section:
    content = item.record.content
    if isinstance(content, Literal):
        return Literal(_local_header(item, _crc(item.record, {})))
    length = len(_local_header(item, 0))
    return LateBytes(length, lambda crcs: _local_header(item, _crc(item.record, crcs)), of=content)


def _crc(record: Record, crcs: Mapping[TensorBytes, int]) -> int:
    content = record.content
    crc = crc32(content.data) if isinstance(content, Literal) else crcs.get(content, 0)
    return combined(crc32(record.head), crc, content.length) if record.head else crc


def _local_header(item: _Placed, crc: int) -> bytes:
    name, size = item.record.name.encode(), item.record.size
    extra = pack("<HHQQ", _ZIP64, 16, size, size) if size >= _MAX32 else b""
    start = item.offset + 30 + len(name) + len(extra) + 4
    padding = -start % _ALIGNMENT
    extra += _PADDING + pack("<H", padding) + b"\0" * padding
    shown = min(size, _MAX32)
    version = 45 if size >= _MAX32 else 20
    fields = (version, _flags(item), 0, 0, _DATE, crc, shown, shown, len(name), len(extra))
    return b"PK\x03\x04" + pack("<5H3I2H", *fields) + name + extra


def _flags(item: _Placed) -> int:
    return 0 if item.record.name.isascii() else _UTF8


def _directory(placed: Sequence[_Placed], crcs: Mapping[TensorBytes, int]) -> bytes:
    entries = []
    for item in placed:
        name, size = item.record.name.encode(), item.record.size
        wide = b""
        if size >= _MAX32:
            wide += pack("<QQ", size, size)
        if item.offset >= _MAX32:
            wide += pack("<Q", item.offset)
        extra = pack("<HH", _ZIP64, len(wide)) + wide if wide else b""
        version = 45 if wide else 20
        shown = min(size, _MAX32)
        crc = _crc(item.record, crcs)
        fields = (version, version, _flags(item), 0, 0, _DATE, crc, shown, shown, len(name), len(extra), 0, 0, 0, 0)
        offset = min(item.offset, _MAX32)
        entries.append(b"PK\x01\x02" + pack("<6H3I5H2I", *fields, offset) + name + extra)
    return b"".join(entries)


def _end(count: int, offset: int, length: int) -> bytes:
    end64 = b""
    if count >= _MAX16 or offset >= _MAX32 or length >= _MAX32:
        end64 = b"PK\x06\x06" + pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, length, offset)
        end64 += b"PK\x06\x07" + pack("<IQI", 0, offset + length, 1)
    few, near = min(count, _MAX16), min(offset, _MAX32)
    return end64 + b"PK\x05\x06" + pack("<4H2IH", 0, 0, few, few, min(length, _MAX32), near, 0)
