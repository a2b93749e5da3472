"""Joins ranks' parts of the same tensors into one table."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ckpt_core import (
    Component,
    DType,
    State,
    TensorEntry,
    TensorInfo,
    TensorRef,
    TensorTable,
    UnsupportedFormatError,
    printable,
)
from ckpt_core.codecs import TorchFile

_FLAT = re.compile(r"(?:.*\.)?_?flat_param(?:_\d+)?(?:\..*)?")


@dataclass(frozen=True, slots=True)
class RankPart:
    """The content of one rank's file."""

    rank: int
    file: TorchFile


@dataclass(slots=True)
class Row:
    """A tensor and the parts that have pieces of it.

    Attributes:
        dtype: Its element type, as the first part has it.
        shape: Its shape, as the first part has it.
        parts: The parts that have it with this type and shape.
        others: The ranks whose parts have it with another one.
        alias_of: The tensor that all of the parts take it for.
    """

    dtype: DType
    shape: tuple[int, ...]
    parts: list[RankPart] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    alias_of: str | None = None


def rows_of(parts: Sequence[RankPart]) -> dict[str, Row]:
    """Return the tensors of all parts.

    They stand in the order of the first part that has each.

    Raises:
        UnsupportedFormatError: RK007, they are flat parameters of FSDP1.
    """
    rows: dict[str, Row] = {}
    for part in parts:
        for name, info in part.file.tensors.infos():
            row = rows.get(name)
            if row is None:
                _refuse_flat(part.file.path, name)
                row = rows[name] = Row(info.dtype, info.shape)
            if (row.dtype, row.shape) == (info.dtype, info.shape):
                row.parts.append(part)
            else:
                row.others.append(part.rank)
    for name, row in rows.items():
        row.alias_of = _alias(name, row)
    return rows


def table_of(rows: dict[str, Row]) -> TensorTable:
    """Return the table of joined tensors.

    It has every rank's chunks, each with its owner. Equal boxes are replicas.
    """
    named = {name: (name, row) for name, row in rows.items()}
    return TensorTable(named, entry=lambda item: _entry(*item), info=lambda item: _info(*item))


def component_of(kind: str, name: str, parts: Sequence[RankPart], rows: dict[str, Row]) -> Component:
    """Return a component of the joined tensors.

    Its state is that of the first part.
    """
    root = parts[0].file.root
    return Component(kind, table_of(rows), None if _is_flat(root) else root, name)


def without_refs(state: State) -> State:
    """Return a state without the tensors at its top."""
    if not isinstance(state, dict):
        return state
    return {key: value for key, value in state.items() if not isinstance(value, TensorRef)}


def _is_flat(root: State) -> bool:
    return isinstance(root, dict) and all(isinstance(value, TensorRef) for value in root.values())


def _entry(name: str, row: Row) -> TensorEntry:
    chunks = tuple(replace(chunk, owner=part.rank) for part in row.parts for chunk in part.file.tensors[name].chunks)
    return TensorEntry(row.dtype, row.shape, chunks, row.alias_of)


def _info(name: str, row: Row) -> TensorInfo:
    if len(row.parts) == 1:
        return row.parts[0].file.tensors.info(name)._replace(alias_of=row.alias_of)
    return TensorInfo(row.dtype, row.shape, None, 0, row.alias_of)


def _alias(name: str, row: Row) -> str | None:
    """Return the tensor whose storage this one shares.

    It must share it in every part that has any of it.
    """
    aliases = set(_aliases(name, row))
    return aliases.pop() if len(aliases) == 1 else None


def _aliases(name: str, row: Row) -> Iterator[str | None]:
    for part in row.parts:
        alias = part.file.tensors.info(name).alias_of
        if alias is not None or part.file.tensors[name].chunks:
            yield alias


def is_flat_parameter(name: str) -> bool:
    """Return True for a flat parameter of FSDP1.

    The name tells; the optimizer's state of a flat parameter counts too.
    """
    return _FLAT.fullmatch(name) is not None


def _refuse_flat(path: str, name: str) -> None:
    if is_flat_parameter(name):
        raise UnsupportedFormatError(
            f"{printable(path)}: {printable(name)} is a flat parameter of FSDP1: where each weight starts in it is "
            "known only to the program that wrapped the model; load it there, and save a full or SHARDED_STATE_DICT",
            code="RK007",
            path=path,
            tensor=name,
        )
