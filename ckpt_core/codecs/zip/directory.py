"""Reads the table of a zip archive strictly.

The rules are strict enough that two readers cannot see different files in it.

Allowed: one disk, nothing before the first record or behind the last, unique names (in any case), records in the order
of the directory without gaps, no encryption, stored as they are. Small records may be deflated.

Sources: PKWARE APPNOTE 6.3.10, sections 4.3.6 to 4.3.16 and 4.5.3 (zip64); torch's writer is miniz, whose layout
`torch/serialization.py` (_get_offset) relies on too: a descriptor of 16 bytes behind every record that is not empty, of
24 where an offset or a size needs 64 bits.
"""

from struct import Struct
from typing import NamedTuple, NoReturn

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CorruptError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable

# One read gets the end of the archive with the directory of some 800 records.
_TAIL = 64 * 1024
_END = Struct("<4s4H2IH")
_END64 = Struct("<4sQ2H2I4Q")
_LOCATOR64 = Struct("<4sIQI")
# Without times and attributes.
_CENTRAL = Struct("<4s3Bx2H4x3I4H6xI")
LOCAL = Struct("<4s5H3I2H")
_MAX16, MAX32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x2041
"""Flags: encrypted, strongly encrypted, with a masked directory."""
HAS_DESCRIPTOR = 0x0008
_STORED, _DEFLATED = 0, 8
# Deflate reaches 1032; a pickle of a checkpoint seldom 100.
MOST_INFLATED = 200


class Member(NamedTuple):
    """A record of an archive: its places and sizes in bytes.

    Its header starts at `header_offset`, its bytes at `data_offset`. `stored_size` differs from `size` only where it is
    `deflated`. `crc` is 0 where torch was told not to compute it.
    """

    name: str
    header_offset: int
    data_offset: int
    size: int
    stored_size: int
    crc: int
    flags: int
    deflated: bool

    @property
    def end(self) -> int:
        return self.data_offset + self.stored_size


def read_archive(files: Files, path: str) -> dict[str, Member]:
    """Return the records of a zip file by name.

    They come from its central directory, in file order. Where the directory looks like torch's own, the place of each
    record's bytes is derived from it, else the local headers are read for it. In both cases
    `checks.check_local_headers` must run before those bytes are trusted.

    Raises:
        CorruptError: ZP001, the archive breaks a rule.
        UnsupportedFormatError: ZP002, it uses a feature that no checkpoint needs.
        BudgetError: ZP001, its directory is larger than `knobs.header_limit` or `knobs.listing_limit`.
    """
    directory, start, count = _directory(files, path)
    raw = _raw_members(path, directory, count, start)
    members = _derived(raw, start) if all(member.made_by_torch for member in raw) else None
    if members is None:
        members = _located(files, path, raw, start)
    return {member.name: member for member in members}


def directory_places(files: Files, path: str) -> dict[str, int]:
    """Return where each record's directory entry lies, by name.

    Offsets in the archive. Raises as `read_archive`.
    """
    directory, start, count = _directory(files, path)
    at, places = 0, {}
    for member in _raw_members(path, directory, count, start):
        places[member.name] = start + at
        name_bytes, extra, comment = _CENTRAL.unpack_from(directory, at)[9:12]
        at += _CENTRAL.size + name_bytes + extra + comment
    return places


def corrupt(path: str, reason: str) -> CorruptError:
    """Return ZP001 with a reason."""
    return CorruptError(
        f"{printable(path)}: not a sound zip archive: {reason}; get the file again", code="ZP001", path=path
    )


class _Raw(NamedTuple):
    """A record as the directory describes it.

    Fields are in the order of `Member`; its data starts behind `after_name`.
    """

    name: str
    header_offset: int
    after_name: int
    size: int
    stored_size: int
    crc: int
    flags: int
    deflated: bool
    made_by_torch: bool


def _directory(files: Files, path: str) -> tuple[bytes, int, int]:
    """Return the central directory's bytes, offset and number of records."""
    # A zip is found from its end. Parsers differ in where they look for that end when there is a comment, bytes behind
    # it or two ends, and two parsers could then see two archives: only the one place is looked at where none can.
    size = files.size(path)
    tail_start = max(0, size - _TAIL)
    tail = files.read(path, tail_start, size - tail_start)
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != b"PK\x05\x06":
        raise corrupt(path, "it does not end with the end of an archive (truncated?)")
    _, disk, first_disk, here, count, length, start, comment = _END.unpack_from(tail, at)
    end, narrow_disk = tail_start + at, disk
    # torch writes the 64-bit end always; the narrow fields must say the same, or all ones for "see there".
    if tail[at - 20 : at - 16] == b"PK\x06\x07" and at >= 20:
        _, disk, offset, disks = _LOCATOR64.unpack_from(tail, at - 20)
        end = tail_start + at - 20 - _END64.size
        if offset != end or at < 20 + _END64.size or disk != 0 or disks != 1:
            raise corrupt(path, "the 64-bit end of the archive is not where it is said to be")
        wide = _END64.unpack_from(tail, at - 20 - _END64.size)
        if first_disk not in (0, _MAX16) or narrow_disk not in (0, _MAX16):
            raise corrupt(path, "its two ends contradict each other")
        _check_narrow(path, (here, count, length, start), wide[6:])
        signature, record, _, _, disk, first_disk, here, count, length, start = wide
        if signature != b"PK\x06\x06" or record != _END64.size - 12:
            raise corrupt(path, "the 64-bit end of the archive is damaged")
    if disk or first_disk or here != count or comment:
        raise corrupt(path, "it is split over disks, or has a comment")
    if start + length != end or length < count * _CENTRAL.size:
        raise corrupt(path, "the directory is not where it is said to be, or bytes follow it")
    if length > knobs.header_limit() or count > knobs.listing_limit():
        raise BudgetError(
            f"{printable(path)}: the archive's directory has {count} records in {length} bytes; "
            "raise CKPT_HEADER_LIMIT and CKPT_LISTING_LIMIT if you trust it",
            code="ZP001",
            path=path,
        )
    if start >= tail_start:
        return tail[start - tail_start : end - tail_start], start, count
    missing = files.read(path, start, tail_start - start)
    return missing + tail[: end - tail_start], start, count


def _check_narrow(path: str, narrow: tuple[int, ...], wide: tuple[int, ...]) -> None:
    """Raise if 16- and 32-bit fields contradict the 64-bit ones.

    A narrow field must say the same, or that it cannot.
    """
    for small, large, full in zip(narrow, wide, (_MAX16, _MAX16, MAX32, MAX32), strict=True):
        if small not in (large, full):
            raise corrupt(path, "its two ends contradict each other")


def _raw_members(path: str, directory: bytes, count: int, start: int) -> list[_Raw]:
    at, end = 0, len(directory)
    members = []
    for _ in range(count):
        if at + _CENTRAL.size > end:
            raise corrupt(path, "the directory ends in the middle of a record")
        fields = _CENTRAL.unpack_from(directory, at)
        at += _CENTRAL.size
        after = at + fields[9] + fields[10] + fields[11]
        if after > end or fields[0] != b"PK\x01\x02":
            raise corrupt(path, "a record of the directory is damaged")
        members.append(_raw_member(path, directory, at, fields))
        at = after
    if at != end:
        raise corrupt(path, "the directory has more bytes than records")
    _check_names(path, members)
    position = 0
    for member in members:
        if member.header_offset < position:
            raise corrupt(path, "its records overlap, or are not in the order of the directory")
        position = member.after_name + member.stored_size
    if position > start or (members[0].header_offset if members else start):
        raise corrupt(path, "bytes precede its first record, or its last one reaches into the directory")
    return members


def _raw_member(path: str, directory: bytes, at: int, fields: tuple[int, ...]) -> _Raw:
    _, made, system, needs, flags, method, crc, stored, size, name_bytes, extra, _, disk, offset = fields
    raw_name = directory[at : at + name_bytes]
    try:
        name = raw_name.decode("utf-8" if flags & 0x800 else "ascii")
    except UnicodeDecodeError:
        raise corrupt(path, f"a record's name is not text: {raw_name[:80]!r}") from None
    if MAX32 in (stored, size, offset):
        end = at + name_bytes + extra
        size, stored, offset = wide_sizes(path, directory[at + name_bytes : end], (size, stored, offset))
    if flags & _ENCRYPTED:
        _refuse(path, name, "it is encrypted")
    if method not in (_STORED, _DEFLATED):
        _refuse(path, name, f"it is compressed by method {method}")
    if disk or (method == _STORED and stored != size):
        raise corrupt(path, f"{printable(name)}: its sizes contradict each other")
    by_torch = made == system == needs == 0 and method == _STORED
    after_name = offset + LOCAL.size + name_bytes
    return _Raw(name, offset, after_name, size, stored, crc, flags, method == _DEFLATED, by_torch)


def wide_sizes(path: str, extra: bytes, narrow: tuple[int, ...]) -> tuple[int, ...]:
    """Return size, stored size (and offset) of a record.

    Each is from the zip64 extra field where the narrow field is full.
    """
    at = 0
    while at + 4 <= len(extra):
        tag, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if tag == 1 and at + 4 + length <= len(extra):
            return _widened(path, extra[at + 4 : at + 4 + length], narrow)
        at += 4 + length
    raise corrupt(path, "a record says that its sizes need 64 bits, and has none")


def _widened(path: str, content: bytes, narrow: tuple[int, ...]) -> tuple[int, ...]:
    wide = iter([int.from_bytes(content[at : at + 8], "little") for at in range(0, len(content) - 7, 8)])
    values = [next(wide, None) if value == MAX32 else value for value in narrow]
    if None in values:
        raise corrupt(path, "a record's 64-bit sizes are incomplete")
    return tuple(value for value in values if value is not None)


def _check_names(path: str, members: list[_Raw]) -> None:
    joined = "\n".join(["", *[member.name for member in members]])
    if len(set(joined.lower().split("\n")[1:])) != len(members):
        raise corrupt(path, "two of its records have one name, or a name has a line break")
    if not any(part in joined for part in ("\\", "\0", "\n/", "..")):
        return
    for name in joined.split("\n"):
        if "\\" in name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
            raise corrupt(path, f"a record's name leads out of the archive: {printable(name)!r}")


def _derived(raw: list[_Raw], directory_start: int) -> list[Member] | None:
    """Derive where each record's data lies from the directory.

    Data lies before its descriptor, which lies before the next header; None where that cannot be.
    """
    members = []
    following = [*[member.header_offset for member in raw[1:]], directory_start]
    for member, next_header in zip(raw, following, strict=True):
        name, offset, after_name, size, stored, crc, flags, deflated, _ = member
        data = next_header - size
        if flags & HAS_DESCRIPTOR:
            data -= 24 if offset >= MAX32 or size >= MAX32 else 16
        if data < after_name:
            return None
        members.append(Member(name, offset, data, size, stored, crc, flags, deflated))
    return members


def _located(files: Files, path: str, raw: list[_Raw], directory_start: int) -> list[Member]:
    """Read every local header to locate the records' data.

    The records are proved to leave no gap.
    """
    headers = files.read_many([ByteRange(path, member.header_offset, LOCAL.size) for member in raw])
    members = []
    for member, header in zip(raw, headers, strict=True):
        name_bytes, extra = LOCAL.unpack(header)[9:]
        data = member.header_offset + LOCAL.size + name_bytes + extra
        members.append(Member(member.name, member.header_offset, data, *member[3:8]))
    for place, located in enumerate(members):
        next_header = members[place + 1].header_offset if place + 1 < len(members) else directory_start
        allowed = (12, 16, 20, 24) if located.flags & HAS_DESCRIPTOR else (0,)
        if next_header - located.end not in allowed:
            raise corrupt(path, f"{printable(located.name)}: its bytes do not end where the next record starts")
    return members


def _refuse(path: str, name: str, reason: str) -> NoReturn:
    raise UnsupportedFormatError(
        f"{printable(path)}: {printable(name)}: {reason}, which no checkpoint is; save it again with torch.save",
        code="ZP002",
        path=path,
    )
