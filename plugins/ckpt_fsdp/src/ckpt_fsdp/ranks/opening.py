"""Rank files opened and joined into one checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ckpt_core import (
    Asset,
    Component,
    CorruptError,
    Files,
    FormatMatch,
    LoadRequest,
    Presence,
    Profile,
    StoredCheckpoint,
)
from ckpt_core.layouts import CheckpointBuilder, components_of
from ckpt_fsdp.rank_sets import RankSet
from ckpt_fsdp.ranks import consistency as agreement
from ckpt_fsdp.ranks.by_content import read_by_content
from ckpt_fsdp.ranks.joining import RankPart, component_of, is_flat_parameter, rows_of, without_refs
from ckpt_fsdp.ranks.missing import missing_of
from ckpt_fsdp.ranks.names import EXTRA, group, parse
from ckpt_fsdp.ranks.reading import read_parts

SEALS = ("ckpt.manifest.json", "ckpt.blocks")
"""Written about a directory, not part of what it holds."""

_NAMED = "the directory's name"
"""Source: verl `verl/trainer/ppo/ray_trainer.py` (_load_checkpoint), which goes on from the number in it."""

_EACH_ITS_OWN = "each rank loads its own file, and stops where there is none"
"""Source: verl `verl/utils/checkpoint/fsdp_checkpoint_manager.py` (load_checkpoint)."""


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the pickles of all rank files.

    No tensor is read.

    Raises:
        CorruptError: RK004, there are no rank files, or those of saves by different numbers of ranks.
        UnsafeContentError: PK003, a file would run code.
        UnsupportedFormatError: RK007, they are flat parameters of FSDP1.
    """
    sets = group(path for path in files.entries if "/" not in path)
    if not sets:
        return read_by_content(files, match)
    _check_one_save(files, sets)
    builder = CheckpointBuilder(files)
    for rank_set in sets:
        if rank_set.part == EXTRA:
            add_extra(builder, rank_set)
        elif rank_set.part == "optimizer":
            _add_optimizer(builder, rank_set)
        else:
            add_set(builder, rank_set, rank_set.part, rank_set.number)
    if match.step is not None and any(rank_set.world is not None for rank_set in sets):
        builder.role("progress", Presence.DERIVED, _NAMED, f"step {match.step}; verl keeps it nowhere else")
    assets = [Asset(path, entry.size) for path, entry in files.entries.items() if _is_asset(path)]
    return builder.checkpoint(match, assets=assets)


def add_set(builder: CheckpointBuilder, rank_set: RankSet, kind: str, name: str = "") -> None:
    """Add the files of a part as one component.

    What is wrong with them becomes findings.
    """
    add_parts(builder, rank_set, read_parts(builder, rank_set, kind, name), kind, name)


def add_parts(
    builder: CheckpointBuilder, rank_set: RankSet, parts: Sequence[RankPart], kind: str, name: str = ""
) -> None:
    """Add the read files of a part as one component.

    Raises as `read`.
    """
    if not parts:
        return
    world = agreement.world_of(rank_set.world, parts)
    label = f"{kind}:{name}" if name else kind
    rows = rows_of(parts)
    states: dict[int, object] = {part.rank: without_refs(part.file.root) for part in parts}
    builder.findings += agreement.missing_ranks(label, rank_set, missing_of(world, rank_set.paths), component=label)
    builder.findings += agreement.contradictions(world, parts)
    builder.findings += agreement.differing_shapes(rows)
    builder.findings += agreement.unplaced(label, parts, rows)
    builder.findings += agreement.differing_states(label, states)
    builder.add(component_of(kind, name, parts, rows), next(iter(rank_set.paths.values())))


def are_flat(parts: Sequence[RankPart]) -> bool:
    """Return True for optimizer state over flat parameters.

    No part says how it is spread, or the names of tensors say it.
    """
    names = {name for part in parts for name in part.file.tensors}
    if any(map(is_flat_parameter, names)):
        return True
    return bool(names) and not any(part.file.sharded for part in parts)


def _add_optimizer(builder: CheckpointBuilder, rank_set: RankSet) -> None:
    """Add the parts of an optimizer, joined or apart.

    verl saves it over flat parameters under FSDP1; then each rank's stays apart.
    """
    parts = read_parts(builder, rank_set, "optimizer", rank_set.number)
    if (rank_set.world or len(rank_set.paths)) > 1 and are_flat(parts):
        builder.findings.append(agreement.kept_apart(parts[0].file.path, len(parts)))
        add_apart(builder, rank_set, parts, ":".join(filter(None, (rank_set.number, "{}"))))
    else:
        add_parts(builder, rank_set, parts, "optimizer", rank_set.number)


def add_apart(builder: CheckpointBuilder, rank_set: RankSet, parts: Sequence[RankPart], name: str) -> None:
    """Add a component for each rank's optimizer part.

    A role says which ranks have no file.

    Args:
        builder: What the directory has so far.
        rank_set: The files.
        parts: What could be read of them.
        name: What to call a component, with `{}` for the rank.
    """
    missing = missing_of(rank_set.world or len(rank_set.paths), rank_set.paths)
    unread = {path: name.format(rank) for rank, path in rank_set.paths.items()}
    builder.roles = [replace(role, name=unread[role.where]) if role.where in unread else role for role in builder.roles]
    builder.findings += agreement.missing_ranks("the optimizer", rank_set, missing, component=f"optimizer:{name}")
    for part in parts:
        component = Component("optimizer", part.file.tensors, part.file.root, name.format(part.rank))
        builder.add(component, part.file.path)
    for rank in missing.ranks:
        builder.role("optimizer", Presence.ABSENT, rank_set.name_of(rank), _EACH_ITS_OWN, name=name.format(rank))


def add_extra(builder: CheckpointBuilder, rank_set: RankSet) -> None:
    """Add the ranks' state besides weights and optimizer.

    Each has its random numbers, all have the same scheduler.
    """
    parts = read_parts(builder, rank_set, "rng", "{}")
    kept = {part.rank: components_of(part.file.root, part.file.tensors) for part in parts}
    shared: dict[str, dict[int, Component]] = {}
    for rank, components in kept.items():
        for component in components:
            if component.kind == "rng":
                builder.add(replace(component, name=str(rank)), rank_set.paths[rank])
            else:
                shared.setdefault(component.label, {})[rank] = component
    for label, by_rank in shared.items():
        states: dict[int, object] = {rank: component.state for rank, component in by_rank.items()}
        builder.findings += agreement.differing_states(label, states)
        rank, component = next(iter(by_rank.items()))
        builder.add(component, rank_set.paths[rank])
    _say_lacking(builder, rank_set, {rank: [component.label for component in kept[rank]] for rank in kept})
    missing = missing_of(agreement.world_of(rank_set.world, parts), rank_set.paths)
    builder.findings += agreement.missing_ranks("the random state", rank_set, missing, component="rng:{}")
    for rank in missing.ranks:
        where = rank_set.name_of(rank)
        builder.role("rng", Presence.ABSENT, where, _EACH_ITS_OWN, name=str(rank), needed_for=Profile.RESUME)


def _say_lacking(builder: CheckpointBuilder, rank_set: RankSet, kept: Mapping[int, Sequence[str]]) -> None:
    """Note state that one rank lacks and another has.

    Each goes on from its own file alone.
    """
    every = sorted({label for labels in kept.values() for label in labels})
    for rank, labels in kept.items():
        for label in every:
            if label not in labels:
                kind, _, name = label.partition(":")
                builder.role(
                    kind, Presence.ABSENT, rank_set.paths[rank], name=":".join(filter(None, (name, str(rank))))
                )


def _check_one_save(files: Files, sets: Sequence[RankSet]) -> None:
    worlds = sorted({rank_set.world for rank_set in sets if rank_set.world is not None})
    if len(worlds) > 1:
        sizes = " and ".join(map(str, worlds))
        raise CorruptError(
            f"{files.location}: rank files of saves by {sizes} ranks lie together; move those of one save away",
            code="RK004",
        )


def _is_asset(path: str) -> bool:
    return path not in SEALS and ("/" in path or parse(path) is None)
