"""Zip archives made field by field, so that any field can lie."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from struct import pack


@dataclass(frozen=True, slots=True)
class Rec:
    """A record. What is None is told truthfully; a `central_` or `local_` field lies in that header only."""

    name: str
    data: bytes
    deflate: bool = False
    crc: int | None = None
    size: int | None = None
    stored: int | None = None
    flags: int = 0
    method: int | None = None
    disk: int = 0
    extra: bytes = b""
    local_name: str | None = None
    local_crc: int | None = None
    local_size: int | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_extra: bytes = b""
    local_magic: bytes = b"PK\x03\x04"
    central_magic: bytes = b"PK\x01\x02"
    offset: int | None = None
    gap: bytes = b""


def zip_of(
    records: Iterable[Rec],
    *,
    prefix: bytes = b"",
    before_directory: bytes = b"",
    before_end: bytes = b"",
    count: int | None = None,
    directory_size: int | None = None,
    directory_offset: int | None = None,
    disk: int = 0,
    comment: bytes = b"",
    comment_length: int | None = None,
    suffix: bytes = b"",
) -> bytes:
    """The bytes of an archive of these records."""
    out = bytearray(prefix)
    central = bytearray()
    records = list(records)
    for record in records:
        offset = len(out) if record.offset is None else record.offset
        out += _local(record) + _stored(record) + record.gap
        central += _central(record, offset)
    out += before_directory
    start = len(out) if directory_offset is None else directory_offset
    length = len(central) if directory_size is None else directory_size
    total = len(records) if count is None else count
    said = len(comment) if comment_length is None else comment_length
    out += central + before_end
    out += pack("<4s4H2IH", b"PK\x05\x06", disk, disk, total, total, length, start, said) + comment + suffix
    return bytes(out)


def deflated(data: bytes) -> bytes:
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compress.compress(data) + compress.flush()


def _stored(record: Rec) -> bytes:
    return deflated(record.data) if record.deflate else record.data


def _facts(record: Rec) -> tuple[int, int, int, int]:
    """Method, checksum, stored size and size."""
    method = (8 if record.deflate else 0) if record.method is None else record.method
    crc = zlib.crc32(record.data) if record.crc is None else record.crc
    stored = len(_stored(record)) if record.stored is None else record.stored
    size = len(record.data) if record.size is None else record.size
    return method, crc, stored, size


def _local(record: Rec) -> bytes:
    method, crc, stored, size = _facts(record)
    name = (record.name if record.local_name is None else record.local_name).encode()
    flags = record.flags if record.local_flags is None else record.local_flags
    method = method if record.local_method is None else record.local_method
    crc = crc if record.local_crc is None else record.local_crc
    if record.local_size is not None:
        stored = size = record.local_size
    head = pack(
        "<4s5H3I2H", record.local_magic, 20, flags, method, 0, 0, crc, stored, size, len(name), len(record.local_extra)
    )
    return head + name + record.local_extra


def _central(record: Rec, offset: int) -> bytes:
    method, crc, stored, size = _facts(record)
    name = record.name.encode()
    versions = (20, 0, 20, 0)
    rest = (len(name), len(record.extra), 0, record.disk, 0, 0, offset & 0xFFFFFFFF)
    head = pack("<4s4B4H3I5H2I", record.central_magic, *versions, record.flags, method, 0, 0, crc, stored, size, *rest)
    return head + name + record.extra
