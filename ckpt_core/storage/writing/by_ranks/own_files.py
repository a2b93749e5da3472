"""The part of a plan that one rank writes.

As a plan of bytes that it knows and of pieces in its memory.

A rank can write a file where it holds all tensors in it. The checksums that a file keeps of its tensors are taken here,
before it is written: then every byte is known but the tensors', and one pass copies, digests and writes them.
"""

import ctypes
from collections.abc import Iterator, Mapping, Sequence

from ckpt_core import knobs
from ckpt_core.arguments import argument
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, Section, TensorBytes, TensorKey, WritePlan
from ckpt_core.schema.text import printable
from ckpt_core.storage.crc import crc32
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.workers import check_stop, run, stretches
from ckpt_core.storage.writing.sinks import late_bytes


def owners_of(plan: WritePlan, checkpoint: PiecedCheckpoint, format: str) -> dict[str, int]:
    """Return the rank that writes each file, by path.

    Rank 0 those that hold no tensor.

    Raises:
        UnsupportedFormatError: A file is to hold what no single rank has.
    """
    return {file.path: _owner_of(file, checkpoint, format) for file in plan.files}


def own_plan(files: Sequence[FilePlan], checkpoint: PiecedCheckpoint, addresses: Mapping[TensorKey, int]) -> WritePlan:
    """Return a plan of files that this rank owns.

    Known bytes, and whole tensors of `checkpoint.own`.

    Args:
        files: Those files, as the plan of the whole checkpoint has them.
        checkpoint: What it is a plan of.
        addresses: Where the pieces lie.
    """
    wanted = [
        (section, addresses[_own_key(section, checkpoint)])
        for file in files
        if file.checksums
        for section in file.sections
        if isinstance(section, TensorBytes)
    ]
    crcs: dict[TensorBytes, int] = {}
    for share in run(_checksums, stretches(wanted, [section.length for section, _ in wanted])):
        crcs.update(share)
    return WritePlan(tuple(FilePlan(file.path, tuple(_known(file, checkpoint, crcs))) for file in files))


def _owner_of(file: FilePlan, checkpoint: PiecedCheckpoint, format: str) -> int:
    sections = [section for section in file.sections if isinstance(section, TensorBytes)]
    owners = {checkpoint.owner(section.component, section.name, section.box) for section in sections}
    if len(owners) > 1 or None in owners:
        name = next((one.name for one in sections if checkpoint.owner(*one.key, one.box) is None), sections[0].name)
        raise UnsupportedFormatError(
            f"{format}: {file.path} is to hold {printable(name)} and other tensors of which no single rank has all; "
            f"save with {argument('format', 'dcp')}, and turn that into {format} with ckpt convert"
        )
    return next(iter(owners), None) or 0


def _known(
    file: FilePlan, checkpoint: PiecedCheckpoint, crcs: Mapping[TensorBytes, int]
) -> Iterator[Literal | TensorBytes]:
    own = {section: crcs[section] for section in file.sections if isinstance(section, TensorBytes) and section in crcs}
    for section in file.sections:
        yield _section(file, section, checkpoint, own)


def _section(
    file: FilePlan, section: Section, checkpoint: PiecedCheckpoint, crcs: Mapping[TensorBytes, int]
) -> Literal | TensorBytes:
    match section:
        case TensorBytes():
            return TensorBytes(*_own_key(section, checkpoint), section.length)
        case LateBytes():
            one = section.of
            return Literal(late_bytes(file, section, crcs if one is None else {one: crcs[one]}))
        case Literal():
            return section
    raise UnsupportedFormatError(f"{file.path}: carries a file along, and what lies in memory has none")


def _own_key(section: TensorBytes, checkpoint: PiecedCheckpoint) -> TensorKey:
    return section.component, checkpoint.own_name(section.component, section.name, section.box)


def _checksums(sections: Sequence[tuple[TensorBytes, int]]) -> list[tuple[TensorBytes, int]]:
    return [(section, _checksum(address, section.length)) for section, address in sections]


def _checksum(address: int, length: int) -> int:
    crc, slab = 0, knobs.slab_bytes()
    for at in range(0, length, slab):
        check_stop()
        piece = (ctypes.c_char * min(slab, length - at)).from_address(address + at)
        crc = crc32(memoryview(piece).cast("B"), crc)
    return crc
