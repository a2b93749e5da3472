"""Makes the index of a model's shards again.

The shards' own headers have all that an index says, as long as all shards are there: their names count them. What the
names do not count, what two files claim, and what an index promises and no file holds, is left alone and said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_core import (
    CkptError,
    Files,
    Finding,
    FormatError,
    Irreparable,
    Operation,
    RepairAction,
    Severity,
    VerifyReport,
    printable,
)
from ckpt_core.codecs import without_collection
from ckpt_hf.model.layouts import as_json
from ckpt_hf.model.sharding import is_tied
from ckpt_hf.names import WeightSet, parse
from ckpt_hf.weights.index import Index, read_index
from ckpt_hf.weights.selection import weight_sets
from ckpt_hf.weights.shards import Shard, open_shard

_OF_THE_INDEX = frozenset({"HF001", "HF002", "HF003", "HF004", "HF006", "HF008", "HF013"})
"""Findings that an index which is true makes go away."""

_STALE = "HF009"


def propose(files: Files, report: VerifyReport) -> Iterator[RepairAction | Irreparable]:
    """Yield repairs for each folder that the report names."""
    by_folder: dict[str, set[str]] = {}
    for finding in report.findings:
        if finding.path is not None and (_is_of_an_index(finding) or finding.code == _STALE):
            by_folder.setdefault(finding.path.rpartition("/")[0], set()).add(finding.code)
    for folder, codes in sorted(by_folder.items()):
        prefix = f"{folder}/" if folder else ""
        if codes - {_STALE}:
            for answer in _mend_indexes(files.below(folder), report, prefix):
                yield replace(answer, path=prefix + answer.path) if answer.path else answer
        else:
            yield from _stale_files(report, folder)


def _is_of_an_index(finding: Finding) -> bool:
    """Return True if a finding is about an index.

    The index disagrees with its files, or is no index at all.
    """
    name = parse((finding.path or "").rpartition("/")[2])
    unreadable = finding.severity is Severity.ERROR and name is not None and name.is_index
    return finding.code in _OF_THE_INDEX or (unreadable and not finding.code.startswith("SL"))


def _stale_files(report: VerifyReport, folder: str) -> Iterator[RepairAction]:
    """Yield removals of files that the index leaves out.

    Nothing else may be wrong: else they may be what the index lacks.
    """
    for finding in report.findings:
        path = finding.path or ""
        if finding.code == _STALE and path.rpartition("/")[0] == folder:
            summary = "remove a weight file that nothing names; what it holds is lost with it"
            yield RepairAction(summary, Operation.REMOVE, path, lossless=False)


def _mend_indexes(files: Files, report: VerifyReport, prefix: str) -> Iterator[RepairAction | Irreparable]:
    named = {finding.path for finding in report.findings if _is_of_an_index(finding)}
    for weights in weight_sets(files):
        touched = [path for path in weights.paths if prefix + path in named]
        lost = [path for path in _missing_of(files, weights) if prefix + path in named]
        if touched or lost:
            with without_collection():
                yield from _mend(files, weights, touched + lost)


def _missing_of(files: Files, weights: WeightSet) -> list[str]:
    """Return files that the index names and that are missing."""
    try:
        named = [path for index in weights.indexes for path in read_index(files, index).shards]
    except FormatError:
        return []
    return [path for path in named if path not in files.entries]


def _mend(files: Files, weights: WeightSet, about: Sequence[str]) -> Iterator[RepairAction | Irreparable]:
    """Yield the index written anew, or the obstacle."""
    old = _old_index(files, weights)
    reason, shards = _all_shards(files, weights, old)
    held = {name: shard.path for shard in shards for name in shard.stored}
    if not reason and sum(len(list(shard.stored)) for shard in shards) > len(held):
        reason = "two files hold the same tensor, and only one can be meant; copy the files of one save"
    lost = sorted(set(old.weight_map) - {name for shard in shards for name in shard.tensors}) if old else []
    if not reason and lost:
        reason = f"no file holds {printable(lost[0])}, which the index promises; copy the files of one save"
    if reason:
        for path in about:
            lacks = "what it held is in no other file here; copy it from where the model came from"
            there = path in files.entries
            yield Irreparable(f"the index cannot be made again: {reason}" if there else lacks, None, path)
        return
    name = weights.indexes[0] if weights.indexes else _index_name(weights)
    summary = f"make the index again from the headers of {len(shards)} files: {len(held)} tensors"
    data = as_json({"metadata": _metadata(old, shards), "weight_map": {**_companions(files, old), **held}})
    if name not in files.entries or files.read(name) != data:
        yield RepairAction(summary, Operation.WRITE, name, data)


def _all_shards(files: Files, weights: WeightSet, old: Index | None) -> tuple[str, list[Shard]]:
    """Return every file of the set, opened.

    A reason in words where that cannot be told or done.
    """
    paths = _complete(weights, old)
    if not paths:
        return "the names of the files here do not say that they are all there were; copy those that are missing", []
    shards = []
    for path in paths:
        try:
            shards.append(open_shard(files, path))
        except CkptError as error:
            return f"{printable(path)} does not open ({error.message.partition(': ')[2] or error.message})", []
    return "", shards


def _complete(weights: WeightSet, old: Index | None) -> list[str]:
    """Return the files of the one complete save.

    Their names say that none is missing; of two such saves, the one that the index means. An index none of whose files
    is here was copied from elsewhere, and means none.
    """
    if not weights.shards:
        return [weights.single] if weights.single else []
    saves: dict[int, dict[int, str]] = {}
    for path, name in weights.shards.items():
        saves.setdefault(name.count, {})[name.number] = path
    whole = [list(paths.values()) for count, paths in saves.items() if set(paths) == set(range(1, count + 1))]
    named = set(old.shards) & set(weights.shards) if old is not None else set()
    meant = [paths for paths in whole if not named or named & set(paths)]
    return meant[0] if len(meant) == 1 else []


def _old_index(files: Files, weights: WeightSet) -> Index | None:
    try:
        return read_index(files, weights.indexes[0]) if weights.indexes else None
    except FormatError:
        return None


def _metadata(old: Index | None, shards: Sequence[Shard]) -> dict[str, Any]:
    """Return the old index's metadata with new sums.

    The sums are as transformers counts them: what is stored, once.
    """
    kept = dict(old.metadata) if old is not None else {}
    if old is not None and old.companions:
        return kept
    infos = {name: info for shard in shards for name, info in shard.tensors.infos()}
    once = [info for info in infos.values() if not is_tied(info, infos)]
    total = {"total_size": sum(info.nbytes for info in once)}
    if old is None or "total_parameters" in old.metadata:
        total["total_parameters"] = sum(info.numel for info in once)
    return {**kept, **total}


def _companions(files: Files, old: Index | None) -> Mapping[str, str]:
    """Return the old index's tensors of another model.

    They stay as they were named.
    """
    if old is None or not old.companions:
        return {}
    from ckpt_core.codecs import parse_object

    named: dict[str, str] = parse_object(files.read(old.path))["weight_map"]
    return {tensor: path for tensor, path in named.items() if path in old.companions}


def _index_name(weights: WeightSet) -> str:
    """Return the name of the index, as transformers names it.

    A variant stands before the last suffix: `model.safetensors.index.fp16.json`.
    """
    variant = f".{weights.variant}" if weights.variant else ""
    return f"{weights.stem}.{weights.suffix}.index{variant}.json"
