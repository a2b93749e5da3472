"""Recognises folders with a file for each model-parallel rank.

Megatron's names tell, else the heads of files.
"""

import re
from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.model_parallel.names import folders, step_of
from ckpt_fsdp.model_parallel.sizes import KEYS, RANKS
from ckpt_fsdp.ranks.grouping import Save, saves_of, with_broken
from ckpt_fsdp.ranks.heads import Told, is_torch, number_of, ranked_files, told

NAME = "model-parallel"
_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_OF_OTHERS = re.compile(r"rng_state|random_states|training_args|.*_states\.pt$|.*-of-\d+\.bin$|consolidated\.\d+\.pth$")


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of rank files.

    It has Megatron's folders of ranks, or files that say how many there are.
    """
    if files.location.kind is LocationKind.FILE:
        return
    for root, ranks in sorted(folders(files.entries).items()):
        name = (root or files.location.name).rpartition("/")[2]
        evidence = f"{len(ranks)} folders of ranks, as Megatron-LM writes: {next(iter(ranks.values()))[0]}"
        step = step_of(name)
        yield FormatMatch(NAME, Confidence.CERTAIN, evidence, root, step_of_name(name) if step is None else step)
    by_folder: dict[str, list[str]] = {}
    for path in files.entries:
        if is_candidate(path):
            by_folder.setdefault(path.rpartition("/")[0], []).append(path)
    for root, paths in sorted(by_folder.items()):
        yield from _loose(files, root, paths)


def is_candidate(path: str) -> bool:
    """Return True if a file's name may be a rank's."""
    name = path.rpartition("/")[2]
    return name.lower().endswith(_SUFFIXES) and any(map(str.isdecimal, name)) and not _OF_OTHERS.match(name)


def saves_in(files: Files, paths: list[str]) -> list[Save]:
    """Return the saves among a folder's files.

    A file counts that says that others go with it.
    """
    ranked = list(ranked_files(files, paths, _told))
    world = max((file.world or 0 for file in ranked), default=0)
    return [with_broken(save, set(paths), world) for save in saves_of(ranked) if len(save.sets) == 1]


def _loose(files: Files, root: str, paths: list[str]) -> Iterator[FormatMatch]:
    saves = saves_in(files, paths)
    alone = len(saves) == 1 and len(files.entries) == 1
    whole = len(saves) == 1 and (alone or len(saves[0].paths) > 1)
    for save in saves:
        first = save.paths[0]
        evidence = f"files of {len(save.paths)} ranks of model parallelism: {first.rpartition('/')[2]}, …"
        step = step_of_name(root or files.location.name) if whole else None
        yield FormatMatch(NAME, Confidence.CERTAIN, evidence, root if whole else first, step, files=tuple(save.paths))


def _told(head: bytes) -> Told | None:
    """Return what a head says of model-parallel ranks.

    None for a file of none, or one whose tensors are spread.
    """
    world = _world(head) if is_torch(head) else None
    if world is None or told(head) is not None:
        return None
    return Told(_rank(head, world), world) if world > 1 else Told(None, None)


def _world(head: bytes) -> int | None:
    """Return the number of ranks in a head.

    The model is cut into so many; None where it says nothing.
    """
    sizes = [_first(head, keys) for keys in KEYS.values()]
    if all(size is None for size in sizes):
        return None
    world = 1
    for size in sizes:
        world *= size or 1
    return world


def _rank(head: bytes, world: int) -> int | None:
    rank = _first(head, RANKS)
    return rank if rank is not None and 0 <= rank < world else None


def _first(head: bytes, keys: tuple[str, ...]) -> int | None:
    return next((number for key in keys if (number := number_of(head, key)) is not None), None)
