"""The part of a plan that one rank writes.

It is a plan of bytes that the rank knows and of pieces in its memory.

A rank can write a file where it holds all tensors in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ckpt_core.arguments import argument
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, Section, TensorBytes, WritePlan
from ckpt_core.schema.text import printable
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint


def owners_of(plan: WritePlan, checkpoint: PiecedCheckpoint, format: str) -> dict[str, int]:
    """Return the rank that writes each file, by path.

    Rank 0 those that hold no tensor.

    Raises:
        UnsupportedFormatError: A file is to hold what no single rank has.
    """
    return {file.path: _owner_of(file, checkpoint, format) for file in plan.files}


def own_plan(files: Sequence[FilePlan], checkpoint: PiecedCheckpoint) -> WritePlan:
    """Return a plan of files that this rank owns.

    Known bytes, whole tensors of `checkpoint.own`, and what depends on their checksums.

    Args:
        files: Those files, as the plan of the whole checkpoint has them.
        checkpoint: What it is a plan of.
    """
    return WritePlan(tuple(replace(file, sections=tuple(_own_sections(file, checkpoint))) for file in files))


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


def _own_sections(file: FilePlan, checkpoint: PiecedCheckpoint) -> Iterator[Section]:
    own = {
        section: TensorBytes(section.component, _own_name(section, checkpoint), section.length)
        for section in file.sections
        if isinstance(section, TensorBytes)
    }
    for section in file.sections:
        match section:
            case TensorBytes():
                yield own[section]
            case LateBytes():
                yield _own_late(section, own)
            case Literal():
                yield section
            case _:
                raise UnsupportedFormatError(f"{file.path}: carries a file along, and what lies in memory has none")


def _own_late(section: LateBytes, own: Mapping[TensorBytes, TensorBytes]) -> LateBytes:
    """Return late bytes, made of the checksums of this rank's pieces."""
    if section.of is not None:
        own = {section.of: own[section.of]}

    def make(crcs: Mapping[TensorBytes, int]) -> bytes:
        return section.make({asked: crcs[piece] for asked, piece in own.items()})

    return LateBytes(section.length, make, of=None if section.of is None else own[section.of])


def _own_name(section: TensorBytes, checkpoint: PiecedCheckpoint) -> str:
    return checkpoint.own_name(section.component, section.name, section.box)
