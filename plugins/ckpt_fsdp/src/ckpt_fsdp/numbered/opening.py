"""Opens numbered shards as one model.

Their tensors are in one table, with what is missing or comes twice.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial

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
    TensorTable,
    printable,
)
from ckpt_core.codecs import read_safetensors
from ckpt_core.layouts import CheckpointBuilder, components_of
from ckpt_fsdp.numbered.detection import shards_in
from ckpt_fsdp.numbered.names import Siblings

_CONFIG = "config.json"
_SHOWN = 64
_COPY = "copy the shards again, all of one save"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the headers of all shards strictly.

    A tensor that is lost with its shard leaves no hole.

    Raises:
        CorruptError: PT007, a shard is missing, or PT008, a tensor is in two; `verify` lists all that is wrong.
        UnsafeContentError: PK003, a file would run code.
    """
    builder, shards, tables = open_shards(files)
    errors = [finding for finding in builder.findings if finding.severity is Severity.ERROR]
    if errors:
        first = errors[0]
        raise CorruptError(first.message, code=first.code, path=first.path, tensor=first.tensor)
    builder.add(Component("model", TensorTable.join(tables.values())), next(iter(tables)))
    if _CONFIG in files.entries:
        builder.json_component("config", _CONFIG)
    used = {_CONFIG, *shards.paths.values()}
    return builder.checkpoint(match, assets=[Asset(p, e.size) for p, e in files.entries.items() if p not in used])


def open_shards(files: Files) -> tuple[CheckpointBuilder, Siblings, dict[str, TensorTable]]:
    """Return the shards of a listing, and their tensors.

    The tensors of each that can be read, and all that is wrong with them.

    Raises:
        CorruptError: PT007, no shards are here, or those of several models.
        UnsafeContentError: PK003, a file would run code.
    """
    models = shards_in(files, [path for path in files.entries if "/" not in path])
    if len(models) != 1:
        why = f"the shards of {len(models)} models lie together" if models else "no numbered shards are here"
        raise CorruptError(f"{files.location}: {why}; name what is meant", code="PT007")
    builder, shards = CheckpointBuilder(files), models[0]
    tables = {path: _table(builder, path) for path in shards.paths.values()}
    opened = {path: table for path, table in tables.items() if table is not None}
    builder.findings += [*_missing(shards), *_twice(opened), *_unlisted(files, opened)]
    return builder, shards, opened


def _table(builder: CheckpointBuilder, path: str) -> TensorTable | None:
    if path.endswith(".safetensors"):
        return builder.tried("model", path, lambda: read_safetensors(builder.files, path).tensors)
    file = builder.tried("model", path, partial(builder.torch, path))
    if file is None:
        return None
    models = [component for component in components_of(file.root, file.tensors) if component.label == "model"]
    return models[0].tensors if models else file.tensors


def _missing(shards: Siblings) -> Iterator[Finding]:
    """Yield PT007 for missing numbers.

    Up to the last that there is, or that the names say.
    """
    of = f" of {shards.count}" if shards.count is not None else ""
    gone = shards.missing
    more = f", and so are {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
    for number in gone[:_SHOWN]:
        name = shards.name_of(number)
        message = f"{printable(name)}: shard {number}{of} is missing{more}; its tensors are nowhere else"
        yield Finding("PT007", Severity.ERROR, message, name, hint=_COPY, component="model")


def _twice(tables: Mapping[str, TensorTable]) -> Iterator[Finding]:
    """Yield PT008 for files with another file's tensor.

    They are parts of it, or of other models.
    """
    owner: dict[str, str] = {}
    for path, table in tables.items():
        twice = [name for name in table if owner.setdefault(name, path) != path]
        if twice:
            more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
            message = f"{printable(path)}: {printable(twice[0])}{more} is in {printable(owner[twice[0]])} too"
            hint = "no file says whether they are pieces, copies or other models; open each by itself"
            yield Finding("PT008", Severity.ERROR, message, path, twice[0], hint)


def _unlisted(files: Files, tables: Mapping[str, TensorTable]) -> Iterator[Finding]:
    """Yield PT007 for indexed tensors that no shard has.

    An index beside the shards says that they are in one of them.
    """
    for path in files.entries:
        if "/" in path or not path.endswith(".index.json"):
            continue
        names = _weight_map(files, path)
        if not any(isinstance(shard, str) and shard in tables for shard in names.values()):
            continue
        gone = [name for name in names if not any(name in table for table in tables.values())]
        if gone:
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            message = f"{printable(path)}: it lists {printable(gone[0])}{more}, which no shard has"
            yield Finding("PT007", Severity.ERROR, message, path, gone[0], _COPY, "model")


def _weight_map(files: Files, path: str) -> dict[str, object]:
    try:
        weight_map = json.loads(files.head(path)).get("weight_map")
    except (ValueError, AttributeError, RecursionError):
        return {}
    return weight_map if isinstance(weight_map, dict) else {}
