"""Opens rank files of any name.

Each holds whatever its rank saved, and what they share is joined under its own keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from ckpt_core import Asset, Component, CorruptError, Files, FormatMatch, State, StoredCheckpoint
from ckpt_core.codecs import Sharding
from ckpt_core.layouts import CheckpointBuilder, keyed_components, step_of_state
from ckpt_fsdp.rank_sets import RankSet
from ckpt_fsdp.ranks import consistency as agreement
from ckpt_fsdp.ranks.detection import is_candidate, saves_in
from ckpt_fsdp.ranks.grouping import WHOLE
from ckpt_fsdp.ranks.joining import RankPart, component_of, rows_of, without_refs
from ckpt_fsdp.ranks.missing import missing_of
from ckpt_fsdp.ranks.reading import read_parts

_OF_EACH_RANK = ("rng", "sampler")
"""Kinds of which each rank has its own."""


def read_by_content(files: Files, match: FormatMatch) -> StoredCheckpoint:
    """Read the pickles of one save's files.

    No tensor is read.

    Raises:
        CorruptError: RK004, the heads of no files here tell of ranks, or they are of several saves.
        UnsafeContentError: PK003, a file would run code.
        UnsupportedFormatError: RK007, they are flat parameters of FSDP1.
    """
    saves = saves_in(files, [path for path in files.entries if is_candidate(path)])
    if len(saves) != 1:
        why = f"rank files of {len(saves)} saves lie together" if saves else "no rank files are here"
        raise CorruptError(f"{files.location}: {why}; name the directory or the save that is meant", code="RK004")
    builder, steps = CheckpointBuilder(files), []
    for rank_set in saves[0].sets:
        parts = _ranked(read_parts(builder, rank_set, "model" if rank_set.part == WHOLE else rank_set.part))
        _add(builder, rank_set, parts)
        steps += [step for part in parts[:1] if (step := step_of_state(part.file.root)) is not None]
    paths = set(saves[0].paths)
    assets = [Asset(path, entry.size) for path, entry in files.entries.items() if path not in paths]
    return builder.checkpoint(match, step=steps[0] if steps else None, assets=assets)


def _ranked(parts: Sequence[RankPart]) -> list[RankPart]:
    """Return the parts by the rank in their content.

    The name of a file may say none or another.
    """
    said = [rank_of(part.file.sharded) for part in parts]
    if None in said or len(set(said)) != len(said):
        return list(parts)
    ranked = (RankPart(rank, part.file) for rank, part in zip(said, parts, strict=True) if rank is not None)
    return sorted(ranked, key=lambda part: part.rank)


def rank_of(sharded: Mapping[str, Sharding]) -> int | None:
    """Return the rank that a file says it is of.

    Its number tells, else its place in the mesh; the result is None where it does not say.
    """
    for sharding in sharded.values():
        if sharding.rank is not None:
            return sharding.rank
    places = {(sharding.mesh, sharding.coordinate) for sharding in sharded.values() if sharding.coordinate is not None}
    mesh, place = max(places, key=lambda pair: prod(pair[0]), default=((), None))
    return None if place is None else _row_major(mesh, place)


def _row_major(mesh: Sequence[int], place: Sequence[int]) -> int:
    rank = 0
    for size, at in zip(mesh, place, strict=True):
        rank = rank * size + at
    return rank


def _add(builder: CheckpointBuilder, rank_set: RankSet, parts: Sequence[RankPart]) -> None:
    """Add the components of a set of files.

    Each is joined of what all ranks have of it, with what is wrong with them.
    """
    if not parts:
        return
    world = agreement.world_of(None, parts)
    what = "what was saved" if rank_set.part == WHOLE else rank_set.part
    present = {part.rank for part in parts} | (rank_set.paths.keys() if rank_set.template else set())
    builder.findings += agreement.missing_ranks(what, rank_set, missing_of(world, present))
    builder.findings += agreement.contradictions(world, parts)
    for label, inner in _by_label(parts, rank_set.part).items():
        kind, _, name = label.partition(":")
        if kind in _OF_EACH_RANK:
            for part in inner:
                component = Component(
                    kind, part.file.tensors, part.file.root, ":".join(filter(None, (name, str(part.rank))))
                )
                builder.add(component, part.file.path)
        else:
            _add_joined(builder, kind, name, inner)


def _by_label(parts: Sequence[RankPart], kind: str) -> dict[str, list[RankPart]]:
    """Return the ranks' parts of each component, by label."""
    by_label: dict[str, list[RankPart]] = {}
    for part in parts:
        components = keyed_components(part.file.root, part.file.tensors)
        for keys, component in components:
            only = not keys and component.kind == "model" and kind not in (WHOLE, "extra")
            label = kind if only else component.label
            by_label.setdefault(label, []).append(_within(part, keys, component))
    return by_label


def _within(part: RankPart, keys: Sequence[str], component: Component) -> RankPart:
    """Return a rank's part of one component.

    Names and shardings are as the component has them.
    """
    start = "".join(f"{key}." for key in keys)
    sharded = {name.removeprefix(start): sharding for name, sharding in part.file.sharded.items()}
    inside = {name: sharding for name, sharding in sharded.items() if name in component.tensors}
    file = replace(part.file, root=component.state, tensors=component.tensors, sharded=inside)
    return RankPart(part.rank, file)


def _add_joined(builder: CheckpointBuilder, kind: str, name: str, parts: Sequence[RankPart]) -> None:
    rows = rows_of(parts)
    label = f"{kind}:{name}" if name else kind
    names = [set(part.file.tensors) for part in parts]
    if all(each == names[0] for each in names):
        states: dict[int, object] = {part.rank: without_refs(part.file.root) for part in parts}
        builder.findings += agreement.differing_states(label, states)
    builder.findings += agreement.differing_shapes(rows)
    builder.findings += agreement.unplaced(label, parts, rows)
    component = component_of(kind, name, parts, rows)
    joined = component.state
    for part in parts[1:]:
        joined = _union(joined, part.file.root)
    builder.add(replace(component, state=joined), parts[0].file.path)


def _union(first: State, other: State) -> State:
    """Return a state with another rank's further keys.

    They are tensors of another stage, or of other experts.
    """
    if not isinstance(first, dict) or not isinstance(other, dict):
        return first
    return {**other, **{key: _union(value, other[key]) if key in other else value for key, value in first.items()}}
