"""Opens and merges the files of all ranks.

Each part is placed by the model's own rule, where all sizes agree.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ckpt_core import (
    Asset,
    Component,
    CorruptError,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Severity,
    StoredCheckpoint,
    TensorEntry,
    TensorInfo,
    TensorTable,
    UnsupportedFormatError,
    printable,
)
from ckpt_core.codecs import TorchFile
from ckpt_core.layouts import CheckpointBuilder
from ckpt_fsdp.llama.names import PARAMS, file_of, survey
from ckpt_fsdp.llama.rules import Params, axis_of, params_of, world_of

_SHOWN = 64
_COPY = "copy the model again, the files of all ranks"


class _Row(NamedTuple):
    """A tensor: its whole shape and its parts.

    `axis` is the dimension along which it is cut, `files` those of the ranks that have parts.
    """

    name: str
    shape: tuple[int, ...]
    axis: int | None
    files: Mapping[int, TorchFile]


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the pickles of all ranks; no tensor is read.

    Raises:
        CorruptError: PT005, no file of a rank is here, or none can be read.
        UnsupportedFormatError: PT006, there are several parts, and nothing proves how they go together.
        UnsafeContentError: PK003, a file would run code.
    """
    paths = survey(files.entries).get("", {})
    if not paths:
        text = f"{files.location}: no consolidated.00.pth is here; name the folder that has it"
        raise CorruptError(text, code="PT005")
    builder = CheckpointBuilder(files)
    content = builder.json_component("config", PARAMS)
    opened = {rank: builder.tried("model", path, partial(builder.torch, path)) for rank, path in paths.items()}
    parts = {rank: file for rank, file in opened.items() if file is not None}
    params = params_of(content or {})
    world = _world(params, paths, parts)
    builder.findings += _missing(world, paths)
    if parts:
        table = _merged(files, params, world, parts)
        builder.add(Component("model", table), next(iter(paths.values())))
    used = {PARAMS, *paths.values()}
    return builder.checkpoint(match, assets=[Asset(p, e.size) for p, e in files.entries.items() if p not in used])


def _world(params: Params | None, paths: Mapping[int, str], parts: Mapping[int, TorchFile]) -> int:
    """Return how many ranks there were.

    The sizes tell, and there are no fewer than the names say.
    """
    count = None
    if params is not None and parts:
        first = next(iter(parts.values()))
        count = world_of(params, {name: info.shape for name, info in first.tensors.infos()})
    return max(count or 1, max(paths) + 1)


def _missing(world: int, paths: Mapping[int, str]) -> list[Finding]:
    gone = [rank for rank in range(min(world, 1 << 16)) if rank not in paths]
    findings = []
    for rank in gone[:_SHOWN]:
        message = f"{file_of(rank)}: this rank's file is missing: there were {world} ranks"
        findings.append(Finding("PT005", Severity.ERROR, message, file_of(rank), hint=_COPY, component="model"))
    return findings


def _merged(files: Files, params: Params | None, world: int, parts: Mapping[int, TorchFile]) -> TensorTable:
    if world > 1 and params is None:
        raise _refused(f"{files.location}: {len(parts)} parts and no {PARAMS} with the sizes of the model")
    rows = {}
    for file in parts.values():
        for name, info in file.tensors.infos():
            if name not in rows:
                rows[name] = _row(name, info.shape, params, world, parts)
    return TensorTable(rows, entry=_entry, info=_info)


def _row(name: str, shape: tuple[int, ...], params: Params | None, world: int, parts: Mapping[int, TorchFile]) -> _Row:
    having = {rank: file for rank, file in parts.items() if name in file.tensors}
    for file in having.values():
        if file.tensors.info(name).shape != shape:
            other = file.tensors.info(name).shape
            raise _refused(f"{printable(file.path)}: {printable(name)} has shape {other}, and {shape} in another part")
    try:
        axis = axis_of(name, shape, params, world) if params is not None else None
    except LookupError as error:
        path = next(iter(having.values())).path
        raise _refused(f"{printable(path)}: {printable(name)} of shape {shape}: {error.args[0]}") from None
    whole = tuple(size * world if dim == axis else size for dim, size in enumerate(shape))
    return _Row(name, whole, axis, having)


def _refused(reason: str) -> UnsupportedFormatError:
    hint = "the parts are not merged; convert them with the program that wrote them"
    return UnsupportedFormatError(f"{reason}; {hint}", code="PT006")


def _entry(row: _Row) -> TensorEntry:
    chunks = []
    for rank, file in row.files.items():
        entry = file.tensors[row.name]
        for chunk in entry.chunks:
            start = chunk.offsets
            if row.axis is not None:
                start = tuple(at + rank * entry.shape[row.axis] * (dim == row.axis) for dim, at in enumerate(start))
            chunks.append(replace(chunk, offsets=start, owner=rank))
    return TensorEntry(entry.dtype, row.shape, tuple(chunks))


def _info(row: _Row) -> TensorInfo:
    first = next(iter(row.files.values())).tensors.info(row.name)
    if len(row.files) == 1 and row.axis is None:
        return first._replace(alias_of=None)
    return TensorInfo(first.dtype, row.shape, None, 0)
