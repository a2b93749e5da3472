"""Checks every byte of items that torch.save wrote.

The bytes are compared with the checksums and the padding that torch gives them.
"""

from collections.abc import Iterator, Sequence
from struct import Struct

from ckpt_core.codecs.heads.torch import TorchKind
from ckpt_core.codecs.torch.subfile import ItemFiles
from ckpt_core.codecs.torch.zip_records import strangers
from ckpt_core.codecs.zip.checks import check_crcs, check_local_headers
from ckpt_core.codecs.zip.directory import HAS_DESCRIPTOR, LOCAL, MAX32, Member, directory_places, read_archive
from ckpt_core.errors import CkptError, CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.workers import run, stretches

NamedItem = tuple[str, ByteRange]
"""The name of a tensor, and where an item of it is."""

_PADDING = b"FB"
"""Tag of the extra field that torch's writer fills with Z, so that records start at multiples of 64 bytes.

Source: torch, `caffe2/serialize/inline_container.cc` (getPadding).
"""

_DESCRIPTOR = Struct("<4s3I")
_CENTRAL = 46
"""Bytes of a record of the directory without its name."""


def check_items(files: Files, items: Sequence[NamedItem]) -> Iterator[Finding]:
    """Read every item whole and yield what is wrong.

    Several workers read, each a contiguous stretch of the items.

    Yields:
        ZP004 and the like (ERROR), with tensor and file, for each item whose bytes are not those that were written;
        ZP008 (WARNING) for each that holds more than its tensor;
        ZP005 (INFO) once where items carry no checksum.
    """
    ordered = sorted(items, key=lambda item: (item[1].path, item[1].offset))
    shares = stretches(ordered, [stored.length for _, stored in ordered])
    without = 0
    for findings in run(lambda share: [one for item in share for one in _check_item(files, *item)], shares):
        for finding in findings:
            if finding.code == "ZP005":
                without += 1
            else:
                yield finding
    if without:
        message = f"{without} items carry no checksum: whether their bytes changed cannot be told"
        yield Finding("ZP005", Severity.INFO, message)


def _check_item(files: Files, name: str, stored: ByteRange) -> Iterator[Finding]:
    item = ItemFiles(files, stored)
    try:
        members = list(read_archive(item, stored.path).values())
        check_local_headers(item, stored.path, members)
        _check_frames(item, stored.path, members)
        findings = list(check_crcs(item, stored.path, members, stored_in=lambda member: []))
        findings += _strangers(item, stored.path, members)
    except CkptError as error:
        findings = [Finding.of_error(error)]
    for finding in findings:
        where = f"{printable(stored.path)}: an item of {printable(name)} (bytes {stored.offset} to {stored.end})"
        message = f"{where}: {finding.message.removeprefix(f'{printable(stored.path)}: ')}"
        yield Finding(finding.code, finding.severity, message, stored.path, name, finding.hint)


def _strangers(item: ItemFiles, path: str, members: Sequence[Member]) -> Iterator[Finding]:
    """Yield ZP008 for records that an item doesn't need.

    It has one tensor, whose storage is the first that torch numbers.
    """
    root = next((member.name.partition("/")[0] for member in members if member.name.endswith("/data.pkl")), None)
    if root is not None:
        yield from strangers(item, path, {one.name: one for one in members}, root, TorchKind.ZIP, {"0"})


def _check_frames(item: ItemFiles, path: str, members: Sequence[Member]) -> None:
    """Check an archive's bytes that no checksum covers.

    They are padding, versions, times, and each second header, as torch writes them.
    """
    headers = [item.read(path, m.header_offset, m.data_offset - m.header_offset) for m in members]
    padding = [header[LOCAL.size + len(m.name.encode()) :] for m, header in zip(members, headers, strict=True)]
    if not any(extra[:2] == _PADDING for extra in padding):
        return
    places = directory_places(item, path)
    for member, header, extra in zip(members, headers, padding, strict=True):
        central = item.read(path, places[member.name], _CENTRAL)
        plain = not any(header[4:6] + header[10:14] + central[4:8] + central[12:16] + central[32:42])
        if not (plain and _is_padding(extra) and _is_described(item, path, member)):
            raise CorruptError(
                f"{printable(path)}: {printable(member.name)}: the bytes around it are not what torch writes there; "
                "get the file again",
                code="DC022",
                path=path,
            )


def _is_padding(extra: bytes) -> bool:
    length = int.from_bytes(extra[2:4], "little")
    return extra[:2] == _PADDING and length == len(extra) - 4 and not extra[4:].strip(b"Z")


def _is_described(item: ItemFiles, path: str, member: Member) -> bool:
    """Return True if a record's descriptor matches the directory.

    Those of 64 bits are not looked at.
    """
    if not member.flags & HAS_DESCRIPTOR or member.header_offset >= MAX32 or member.size >= MAX32:
        return True
    said = item.read(path, member.end, _DESCRIPTOR.size)
    return said == _DESCRIPTOR.pack(b"PK\x07\x08", member.crc, member.size, member.size)
