"""Recognises directories with a file for each rank.

Known names tell, else the heads of files.
"""

import re
from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.bagel_names import survey as bagels
from ckpt_fsdp.rank_sets import RankSet
from ckpt_fsdp.ranks.grouping import Save, saves_of, with_broken
from ckpt_fsdp.ranks.heads import ranked_files, told
from ckpt_fsdp.ranks.names import group, parse

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar")
_OF_OTHERS = re.compile(
    r"rng_state|random_states|training_args|pytorch_model_fsdp_rank\d+\.bin$"
    r"|.*_states\.pt$|.*-of-\d+\.bin$|.*\.distcp$"
)
"""Files of other layouts: no tensor is spread over ranks in them, or Accelerate's own format knows what they are."""


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each directory of rank files.

    Each save of several in one directory has a match of its own.
    """
    if files.location.kind is LocationKind.FILE:
        return
    named: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for path in files.entries:
        root, _, name = path.rpartition("/")
        if parse(name) is not None:
            named.setdefault(root, []).append(path)
        elif name.lower().endswith(_SUFFIXES) and not _OF_OTHERS.match(name):
            others.setdefault(root, []).append(path)
    for root, paths in sorted(named.items()):
        sets = group(paths)
        if any(rank_set.part != "optimizer" or rank_set.world is not None for rank_set in sets):
            yield FormatMatch("fsdp-ranks", _confidence(sets), _evidence(sets), root, _step(files, root))
    for root, paths in sorted(others.items()):
        if root not in named:
            yield from _by_content(files, root, paths)


def saves_in(files: Files, paths: list[str]) -> list[Save]:
    """Return the saves among a folder's torch files.

    The heads of the files tell.
    """
    ranked = list(ranked_files(files, paths, told))
    world = max((file.world or 0 for file in ranked), default=0)
    listed = set(paths)
    return [with_broken(save, listed, world) for save in saves_of(ranked)]


def is_candidate(path: str) -> bool:
    """Return True if a file's name may be a rank's.

    The file must lie at the top of a listing.
    """
    return "/" not in path and path.lower().endswith(_SUFFIXES) and not _OF_OTHERS.match(path)


def _by_content(files: Files, root: str, paths: list[str]) -> Iterator[FormatMatch]:
    saves = saves_in(files, [path for path in paths if not _is_bagels(path)])
    alone = len(saves) == 1 and len(files.entries) == 1
    if len(saves) == 1 and (alone or len(saves[0].paths) > 1):
        first = list(saves[0].sets)
        step = _step(files, root)
        claimed = tuple(saves[0].paths)
        yield FormatMatch("fsdp-ranks", Confidence.CERTAIN, _evidence(first), root, step, files=claimed)
        return
    for save in saves:
        step = step_of_name(_without_rank(save.sets[0]))
        path, evidence = save.paths[0], _evidence(list(save.sets))
        yield FormatMatch("fsdp-ranks", Confidence.CERTAIN, evidence, path, step, files=tuple(save.paths))


def _is_bagels(path: str) -> bool:
    return any(bagel.ranks for bagel in bagels([path.rpartition("/")[2]]).values())


def _without_rank(rank_set: RankSet) -> str:
    before, behind, _, _ = rank_set.template or ("", "", 0, 0)
    return f"{before}{behind}".rpartition("/")[2]


def _confidence(sets: list[RankSet]) -> Confidence:
    return Confidence.CERTAIN if any(rank_set.world is not None for rank_set in sets) else Confidence.LIKELY


def _evidence(sets: list[RankSet]) -> str:
    first = sets[0]
    path = next(iter(first.paths.values())).rpartition("/")[2]
    of = f" of {first.world}" if first.world is not None else ""
    return f"files of {len(first.paths)}{of} ranks: {path}, …"


def _step(files: Files, root: str) -> int | None:
    """Return the step in the directory's name.

    The directory above it may name the step too: `global_step_20/actor`.
    """
    for name in reversed(f"{files.location.url}/{root}".rstrip("/").split("/")[-2:]):
        step = step_of_name(name)
        if step is not None:
            return step
    return None
