"""Checks the records of a torch zip.

Some it must have, some it may have, and some no reader of torch asks for.

Sources: torch, `caffe2/serialize/inline_container.cc` (PyTorchStreamReader::init, getAllRecords),
`torch/serialization.py` (_save), `torch/csrc/jit/serialization/export_module.cpp`,
`torch/export/pt2_archive/constants.py`.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from ckpt_core.codecs.heads.torch import TAINT_RECORD, TorchKind
from ckpt_core.codecs.unread_bytes import LOOKED_AT, what_is
from ckpt_core.codecs.zip.checks import read_member
from ckpt_core.codecs.zip.directory import Member
from ckpt_core.errors import CorruptError, UnsupportedFormatError
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable

_OLDEST, _NEWEST = 1, 10
"""Source: torch, `caffe2/serialize/versions.h` (kMinSupportedFileFormatVersion, kMaxSupportedFileFormatVersion)."""

_COMMON = ("version", "byteorder", ".format_version", ".storage_alignment", ".data/version", ".data/serialization_id")
_KNOWN = {
    TorchKind.ZIP: re.compile(r"data\.pkl"),
    TorchKind.SCRIPT: re.compile(
        r"(data|attributes|bytecode|constants|traced_inputs|mobile_debug_handles|callstack_debug_map)\.pkl|"
        r"(code|constants|data|extra|traced_inputs|bytecode)/.*"
    ),
    TorchKind.EXPORTED: re.compile(r"archive_(format|version)|(data|models|extra|executorch|mtia)/.*"),
}
_SHOWN = 3


def check_root(path: str, members: Mapping[str, Member], root: str) -> None:
    """Raise ZP006 if records lie in more than one folder."""
    stranger = next((name for name in members if not name.startswith(f"{root}/")), None)
    if stranger is not None:
        raise CorruptError(
            f"{printable(path)}: its records lie in more than one folder, which no reader of torch accepts: "
            f"{printable(root)}/, and {printable(stranger, 80)} outside of it; get the file again",
            code="ZP006",
            path=path,
        )


def read_version(files: Files, path: str, members: Mapping[str, Member], root: str) -> str:
    """Return the version of the layout.

    A number that torch is known to write or read.

    Raises:
        CorruptError: ZP007, there is none; TF001, it is no number or below 1, or that of the alignment is none.
        UnsupportedFormatError: TF006, it is newer than the newest that is known.
    """
    alignment = members.get(f"{root}/.storage_alignment")
    if alignment is not None:
        _number(files, path, alignment, "alignment")
    member = members.get(f"{root}/.data/version") or members.get(f"{root}/version")
    if member is None:
        raise CorruptError(
            f"{printable(path)}: its record of the version ({printable(root)}/version) is missing, and without it no "
            "reader of torch opens it (an archive packed again?); get the file again",
            code="ZP007",
            path=path,
        )
    version = _number(files, path, member, "version")
    if int(version) > _NEWEST:
        raise UnsupportedFormatError(
            f"{printable(path)}: version {int(version)} of the layout, and {_NEWEST} is the newest that is known; "
            "get a newer ckpt",
            code="TF006",
            path=path,
        )
    return version


def check_id(files: Files, path: str, members: Mapping[str, Member], root: str) -> None:
    """Raise TF001 if the serialization id is no text.

    Torch decodes it when it opens the archive.
    """
    member = members.get(f"{root}/.data/serialization_id")
    try:
        if member is not None:
            read_member(files, path, member).decode()
    except UnicodeDecodeError:
        raise CorruptError(
            f"{printable(path)}: its serialization_id is no text; get the file again", code="TF001", path=path
        ) from None


def _number(files: Files, path: str, member: Member, what: str) -> str:
    content = read_member(files, path, member)
    if not re.fullmatch(rb"\s*\d{1,18}\s*", content) or int(content) < _OLDEST:
        raise CorruptError(
            f"{printable(path)}: its {what} is {content[:20]!r}; get the file again", code="TF001", path=path
        )
    return content.decode().strip()


def strangers(
    files: Files, path: str, members: Mapping[str, Member], root: str, kind: TorchKind, storages: Collection[str]
) -> Iterator[Finding]:
    """Yield ZP008 for records that no reader of torch reads.

    Args:
        files: What the archive lies in.
        path: The archive.
        members: Its records.
        root: The folder that they lie in.
        kind: What wrote them.
        storages: Keys of the storages that the pickle speaks of; looked at where the file is no program.
    """
    known = {f"{root}/{name}" for name in (*_COMMON, TAINT_RECORD)}
    known.update(f"{root}/data/{key}" for key in storages)
    others = [member for name, member in members.items() if name not in known]
    pattern, start = _KNOWN[kind], len(root) + 1
    odd = [one for one in others if not (pattern.fullmatch(one.name[start:]) or _is_folder(one))]
    if odd:
        shown = ", ".join(_described(files, path, member) for member in odd[:_SHOWN])
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        message = (
            f"holds what no reader of torch asks for: {shown}{more}; it is not read, and a conversion leaves it out"
        )
        yield Finding("ZP008", Severity.WARNING, message, path)


def _is_folder(member: Member) -> bool:
    return member.name.endswith("/") and not member.size


def _described(files: Files, path: str, member: Member) -> str:
    head = b"" if member.deflated else files.read(path, member.data_offset, min(member.size, LOOKED_AT))
    return f"{printable(member.name, 80)} ({what_is(head, member.size)})"
