"""Reads the names of Megatron's folders of ranks.

It tells what the numbers in them are.

Source: Megatron-LM `megatron/training/checkpointing.py` (get_checkpoint_name): the tensor rank, then the pipeline's
where there is more than one, then the expert's where there is more than one.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import product

from ckpt_fsdp.model_parallel.sizes import Sizes

_FOLDER = re.compile(r"mp_rank_(\d{2,6})(?:_(\d{3,6}))?(?:_(\d{3,6}))?")
_ITERATION = re.compile(r"iter_(\d{1,18})")

MODEL = ("model_optim_rng.pt", "model_rng.pt", "model.pt")
"""The file of a rank with its weights, in the order in which Megatron came to name it."""

Rank = tuple[int, ...]
"""The numbers in a rank's name."""


def rank_of_folder(name: str) -> Rank | None:
    """Return the numbers of a rank's folder.

    None for any other folder.
    """
    match = _FOLDER.fullmatch(name)
    return None if match is None else tuple(int(number) for number in match.groups() if number is not None)


def step_of(name: str) -> int | None:
    """Return the step in the name of a folder.

    100 of `iter_0000100`.
    """
    match = _ITERATION.fullmatch(name)
    return int(match[1]) if match else None


def folder_of(rank: Rank) -> str:
    """Return the name of a rank's folder."""
    tensor, *others = rank
    return "_".join([f"mp_rank_{tensor:02d}", *(f"{number:03d}" for number in others)])


def folders(paths: Iterable[str]) -> dict[str, dict[Rank, list[str]]]:
    """Return the files of each rank, by the ranks' parent folder."""
    by_root: dict[str, dict[Rank, list[str]]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        root, _, rank_folder = folder.rpartition("/")
        rank = rank_of_folder(rank_folder)
        if rank is not None and name.endswith(".pt"):
            by_root.setdefault(root, {}).setdefault(rank, []).append(path)
    return {root: dict(sorted(ranks.items())) for root, ranks in by_root.items()}


def expected(sizes: Sizes) -> list[Rank]:
    """Return the ranks whose folders there should be."""
    counted = [sizes.tensor, *(size for size in (sizes.pipeline, sizes.expert) if size > 1)]
    return list(product(*map(range, counted)))


def label(rank: Sequence[int], sizes: Sizes) -> str:
    """Return the name of a rank's part.

    `tp0-pp1`; "" where it is all there is.
    """
    kinds = ["tp", *(kind for kind, size in (("pp", sizes.pipeline), ("ep", sizes.expert)) if size > 1)]
    kinds += ["rank"] * (len(rank) - len(kinds))
    shown = [f"{kind}{number}" for kind, number in zip(kinds, rank, strict=False)]
    return "-".join(shown)
