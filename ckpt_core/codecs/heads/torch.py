"""Recognises the layouts of torch.save by their first bytes.

The module is light enough for every start.
"""

from enum import Enum

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_BYTES = b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_START = b"\x80\x02\x8a\x0a"
# Of torch's own records, the ones that a zip file may begin with.
_FIRST_RECORDS = (
    "data.pkl",
    "version",
    "byteorder",
    "constants.pkl",
    "archive_format",
    ".format_version",
    ".storage_alignment",
)
_TAR_RECORDS = (b"sys_info", b"pickle", b"tensors", b"storages")

TAINT_RECORD = ".data/ckpt_tainted"
"""A record of ours below the root of a torch zip: what is tainted. torch's readers pass over it."""


class TorchKind(Enum):
    """The layout of a torch file.

    The value is the evidence in words.
    """

    ZIP = "a zip archive with torch's records"
    SCRIPT = "a TorchScript program"
    EXPORTED = "a program of torch.export"
    LEGACY = "the magic number of torch.save before 1.6"
    TAR = "a tar archive, as torch.save wrote before 0.1.10"


def sniff_torch(head: bytes) -> TorchKind | None:
    """Return the torch layout that a file's first bytes show.

    None where they show none of torch's. Names play no part.
    """
    if head[:4] == b"PK\x03\x04":
        return TorchKind.ZIP if _begins_like_torch(head) else None
    if head[:1] == b"\x80" and _MAGIC_BYTES in head[:32]:
        return TorchKind.LEGACY
    if head[257:262] == b"ustar" and head[:100].rstrip(b"\0") in _TAR_RECORDS:
        return TorchKind.TAR
    return None


def like_legacy(head: bytes) -> bool:
    """Return True for the start of a damaged legacy file.

    The file is cut short, or damaged in its first bytes.
    """
    return head[:4] == _LEGACY_START[: len(head)] or _MAGIC_BYTES[4:] in head[:32]


def _begins_like_torch(head: bytes) -> bool:
    name = head[30 : 30 + short(head, 26)].decode("utf-8", "replace").partition("/")[2]
    return name in _FIRST_RECORDS or name.startswith(("data/", ".data/")) or b"/data.pkl" in head


def short(head: bytes, at: int) -> int:
    """Return the 16-bit number at a place; 0 behind the end."""
    return int.from_bytes(head[at : at + 2], "little")
