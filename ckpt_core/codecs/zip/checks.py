"""Proves a zip archive's table against its bytes.

It compares local headers and checksums, and reads small records whole.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from ckpt_core import knobs
from ckpt_core.codecs.zip.directory import HAS_DESCRIPTOR, LOCAL, MAX32, MOST_INFLATED, Member, corrupt, wide_sizes
from ckpt_core.errors import BudgetError, CkptError, CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.byte_consumers import Checksum, Noted, Sum
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.crc import crc32

# Below this, one read of everything is cheaper than one for each header.
_CHEAP_READ = 1 << 20


def check_local_headers(files: Files, path: str, members: Sequence[Member]) -> None:
    """Prove that each local header agrees with the directory.

    The record's bytes must start where they should.

    Raises:
        CorruptError: ZP003, one does not.
    """
    for member, header in zip(members, _headers(files, path, members), strict=True):
        reason = _disagreement(path, member, header)
        if reason:
            raise CorruptError(
                f"{printable(path)}: {printable(member.name)}: its header and the directory disagree on its {reason}; "
                "get the file again",
                code="ZP003",
                path=path,
            )


def _headers(files: Files, path: str, members: Sequence[Member]) -> Iterator[bytes]:
    """Return the bytes between each record's start and data."""
    end = max((member.data_offset for member in members), default=0)
    if end <= _CHEAP_READ:
        content = files.read(path, 0, end)
        return (content[member.header_offset : member.data_offset] for member in members)
    longest = LOCAL.size + _MOST_PADDING
    for member in members:
        if member.data_offset - member.header_offset > longest:
            raise corrupt(path, f"{printable(member.name)}: a gap precedes its bytes")
    return files.read_many(
        [ByteRange(path, member.header_offset, member.data_offset - member.header_offset) for member in members]
    )


# A name and an extra field have at most 64 KiB each.
_MOST_PADDING = 2 * 65535


def _disagreement(path: str, member: Member, header: bytes) -> str | None:
    if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
        return "place"
    _, _, flags, method, _, _, crc, stored, size, name_bytes, extra = LOCAL.unpack_from(header)
    if LOCAL.size + name_bytes + extra != len(header):
        return "place"
    if header[LOCAL.size : LOCAL.size + name_bytes] != member.name.encode():
        return "name"
    if (flags | HAS_DESCRIPTOR, method) != (member.flags | HAS_DESCRIPTOR, 8 if member.deflated else 0):
        return "flags"
    if MAX32 in (stored, size):
        size, stored = wide_sizes(path, header[LOCAL.size + name_bytes :], (size, stored))
    if (flags & HAS_DESCRIPTOR) and (crc, stored, size) == (0, 0, 0):
        return None
    return None if (crc, stored, size) == (member.crc, member.stored_size, member.size) else "size or checksum"


def read_member(files: Files, path: str, member: Member) -> bytes:
    """Read a small record whole, inflated, its checksum proven.

    Raises:
        CorruptError: ZP004, the bytes do not match the checksum, or ZP001, do not inflate.
        BudgetError: ZP001, it is larger than `knobs.header_limit`, or inflates more than 200 times.
    """
    if member.size > knobs.header_limit() or member.size > member.stored_size * MOST_INFLATED:
        raise BudgetError(
            f"{printable(path)}: {printable(member.name)} takes {member.size} bytes of memory; "
            "raise CKPT_HEADER_LIMIT if you trust the file",
            code="ZP001",
            path=path,
        )
    head = files.head(path)
    stored = head[member.data_offset : member.end] if member.end <= len(head) else None
    if stored is None:
        stored = files.read(path, member.data_offset, member.stored_size)
    content = _inflated(path, member, stored) if member.deflated else stored
    if member.crc and crc32(content) != member.crc:
        raise CorruptError(f"{printable(path)}: {_bad_sum(member)}; get the file again", code="ZP004", path=path)
    return content


def _inflated(path: str, member: Member, stored: bytes) -> bytes:
    inflate = zlib.decompressobj(-15)
    try:
        content = inflate.decompress(stored, member.size + 1)
    except zlib.error as error:
        raise corrupt(path, f"{printable(member.name)}: {error}") from error
    if len(content) != member.size or not inflate.eof or inflate.unused_data:
        raise corrupt(path, f"{printable(member.name)}: it does not inflate to the size it claims")
    return content


def check_crcs(
    files: Files, path: str, members: Iterable[Member], *, stored_in: Callable[[Member], Sequence[str]]
) -> Iterator[Finding]:
    """Read every record once and compare its checksum.

    Arguments and findings are those of `checksums_of`.
    """
    from ckpt_core.reading.scan.full import walk  # with its digests, which a listing has no need of

    checksums = checksums_of(path, members, stored_in=stored_in)
    yield from map(Finding.of_error, walk(files, checksums))
    for checksum in checksums:
        yield from checksum.findings()


def checksums_of(
    path: str, members: Iterable[Member], *, stored_in: Callable[[Member], Sequence[str]]
) -> list[Checksum]:
    """Return the checksums of records, for a walk over bytes.

    The walk goes over the archive's bytes.

    Args:
        path: The archive.
        members: Its records, in file order.
        stored_in: Names of the tensors whose bytes a record holds.

    Returns:
        Checksums that find ZP004 (ERROR) where a record's bytes changed, and one that finds ZP005 (INFO) where
        checksums were not computed.
    """
    checksums: list[Checksum] = []
    without = 0
    for member in members:
        if member.crc == 0 and member.size and not member.deflated:
            without += 1
        else:
            checksums.append(_RecordSum(path, member, stored_in))
    if without:
        message = f"{without} records carry no checksum: whether their bytes changed cannot be told"
        checksums.append(Noted(Finding("ZP005", Severity.INFO, message, path)))
    return checksums


class _RecordSum:
    """The CRC-32 of one record.

    A deflated record is inflated first.
    """

    def __init__(self, path: str, member: Member, stored_in: Callable[[Member], Sequence[str]]) -> None:
        self.path, self.start, self.end = path, member.data_offset, member.end
        self._member, self._stored_in = member, stored_in
        self._crc, self._size = 0, 0
        self._inflate = zlib.decompressobj(-15) if member.deflated else None
        self._error: CkptError | None = None

    def see(self, data: memoryview) -> None:
        if self._error is not None:
            return
        piece: memoryview | bytes = data
        if self._inflate is not None:
            try:
                piece = self._inflate.decompress(data, self._member.size - self._size + 1)
            except zlib.error as error:
                self._error = corrupt(self.path, f"{printable(self._member.name)}: {error}")
                return
            self._size += len(piece)
        self._crc = crc32(piece, self._crc)

    def fail(self, error: CkptError) -> None:
        self._error = error

    def findings(self) -> Iterator[Finding]:
        if self._error is not None:
            yield Finding.of_error(self._error)
        elif self._crc != self._member.crc:
            yield self._damage()

    def sums(self) -> Iterator[Sum]:
        if not self._member.deflated:
            yield Sum(self.path, self.start, self.end, self._member.crc, self._damage)

    def _damage(self) -> Finding:
        names = list(self._stored_in(self._member))
        more = ", …" if len(names) > 3 else ""
        of = f" (holds {', '.join(map(printable, names[:3]))}{more})" if names else ""
        tensor = names[0] if names else None
        message = f"{_bad_sum(self._member)}{of}"
        return Finding("ZP004", Severity.ERROR, message, self.path, tensor, "get the file again")


def _bad_sum(member: Member) -> str:
    return f"{printable(member.name)}: its bytes do not match its checksum"
