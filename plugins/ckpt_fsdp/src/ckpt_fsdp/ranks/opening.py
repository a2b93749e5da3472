"""Rank files opened and joined into one checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

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
from ckpt_core.codecs.pieces import Pieces
from ckpt_core.codecs.torch_components import components_of
from ckpt_fsdp.ranks import agreement
from ckpt_fsdp.ranks.joining import RankPart, component_of, rows_of, without_refs
from ckpt_fsdp.ranks.missing import missing_of
from ckpt_fsdp.ranks.names import EXTRA, RankSet, group, parse

SEALS = ("ckpt.manifest.json", "ckpt.blocks")
"""Written about a directory, not part of what it holds."""

_NAMED = "the directory's name"
"""Source: verl `verl/trainer/ppo/ray_trainer.py` (_load_checkpoint), which goes on from the number in it."""

_EACH_ITS_OWN = "each rank loads its own file, and stops where there is none"
"""Source: verl `verl/utils/checkpoint/fsdp_checkpoint_manager.py` (load_checkpoint)."""


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the pickles of all rank files; no tensor is read.

    Raises:
        CorruptError: RK004, there are no rank files, or those of saves by different numbers of ranks.
        UnsafeContentError: PK003, a file would run code.
        UnsupportedFormatError: RK007, they are flat parameters of FSDP1.
    """
    sets = group(path for path in files.entries if "/" not in path)
    _check_one_save(files, sets)
    pieces = Pieces(files)
    for found in sets:
        if found.part == EXTRA:
            add_extra(pieces, found)
        else:
            add_set(pieces, found, found.part, found.number)
    if match.step is not None and any(found.world is not None for found in sets):
        pieces.role("progress", Presence.DERIVED, _NAMED, f"step {match.step}; verl keeps it nowhere else")
    assets = [Asset(path, entry.size) for path, entry in files.entries.items() if _is_asset(path)]
    return pieces.checkpoint(match, assets=assets)


def add_set(pieces: Pieces, found: RankSet, kind: str, name: str = "") -> None:
    """The files of a part as one component, with what is wrong with them."""
    add_parts(pieces, found, read_parts(pieces, found, kind, name), kind, name)


def add_parts(pieces: Pieces, found: RankSet, parts: Sequence[RankPart], kind: str, name: str = "") -> None:
    """What was read of the files of a part as one component; raises as `read`."""
    if not parts:
        return
    world = agreement.world_of(found.world, parts)
    label = f"{kind}:{name}" if name else kind
    rows = rows_of(parts)
    states: dict[int, object] = {part.rank: without_refs(part.file.root) for part in parts}
    pieces.findings += agreement.missing_ranks(label, found, missing_of(world, found.paths))
    pieces.findings += agreement.contradictions(world, parts)
    pieces.findings += agreement.differing_shapes(rows)
    pieces.findings += agreement.unplaced(label, parts, rows)
    pieces.findings += agreement.differing_states(label, states)
    pieces.add(component_of(kind, name, parts, rows), next(iter(found.paths.values())))


def add_extra(pieces: Pieces, found: RankSet) -> None:
    """What ranks keep besides weights and optimizer: each its random numbers, all the same scheduler."""
    parts = read_parts(pieces, found, "progress")
    shared: dict[str, dict[int, Component]] = {}
    for part in parts:
        for component in components_of(part.file.root, part.file.tensors):
            if component.kind == "rng":
                pieces.add(replace(component, name=str(part.rank)), part.file.path)
            else:
                shared.setdefault(component.label, {})[part.rank] = component
    for label, by_rank in shared.items():
        states: dict[int, object] = {rank: component.state for rank, component in by_rank.items()}
        pieces.findings += agreement.differing_states(label, states)
        rank, component = next(iter(by_rank.items()))
        pieces.add(component, found.paths[rank])
    world = agreement.world_of(found.world, parts)
    missing = missing_of(world, found.paths)
    pieces.findings += agreement.missing_ranks("the random state", found, missing)
    for rank in missing.ranks:
        where = found.name_of(rank)
        pieces.role("rng", Presence.ABSENT, where, _EACH_ITS_OWN, name=str(rank), needed_for=Profile.RESUME)


def read_parts(pieces: Pieces, found: RankSet, kind: str, name: str = "") -> list[RankPart]:
    """The files of a part that can be read; what is wrong with the others is among the findings."""
    parts = []
    for rank, path in found.paths.items():
        file = pieces.tried(kind, path, partial(pieces.torch, path), name=name)
        if file is not None:
            parts.append(RankPart(rank, file))
    # What a file says of itself, that it has a part only, is what is wanted here.
    pieces.findings = [finding for finding in pieces.findings if finding.code != "TF009"]
    return parts


def _check_one_save(files: Files, sets: Sequence[RankSet]) -> None:
    worlds = sorted({found.world for found in sets if found.world is not None})
    if not sets:
        raise CorruptError(f"{files.location}: no rank files are here; name the directory that has them", code="RK004")
    if len(worlds) > 1:
        sizes = " and ".join(map(str, worlds))
        raise CorruptError(
            f"{files.location}: rank files of saves by {sizes} ranks lie together; move those of one save away",
            code="RK004",
        )


def _is_asset(path: str) -> bool:
    return path not in SEALS and ("/" in path or parse(path) is None)
