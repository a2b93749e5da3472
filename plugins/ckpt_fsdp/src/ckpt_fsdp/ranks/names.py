"""Reads the names of rank files.

They tell which part of which rank each holds.

Sources: verl `verl/utils/checkpoint/fsdp_checkpoint_manager.py` (save_checkpoint); accelerate `utils/fsdp_utils.py`
(save_fsdp_model and save_fsdp_optimizer without DCP).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ckpt_fsdp.rank_sets import RankSet

_WITH_WORLD = re.compile(r"(model|optim|extra_state)_world_size_(\d{1,7})_rank_(\d{1,7})\.pt")
_ACCELERATE = re.compile(r"(pytorch_model_fsdp|optimizer)_(\d{1,4})_rank(\d{1,7})\.bin")
_PARTS = {"model": "model", "pytorch_model_fsdp": "model", "optim": "optimizer", "optimizer": "optimizer"}

EXTRA = "extra"
"""The part that holds what is neither weights nor optimizer: schedulers, the rank's random numbers."""


@dataclass(frozen=True, slots=True)
class RankName:
    """The parsed name of a rank file.

    Attributes:
        part: `model`, `optimizer`, or EXTRA.
        number: Which of several models or optimizers; "" for the first.
        rank: The rank that wrote it.
        world: How many ranks there were; None where the name does not say.
    """

    part: str
    number: str
    rank: int
    world: int | None


def parse(name: str) -> RankName | None:
    """Parse the name of a rank file.

    None for any other name.
    """
    match = _WITH_WORLD.fullmatch(name)
    if match:
        return RankName(_PARTS.get(match[1], EXTRA), "", int(match[3]), int(match[2]))
    match = _ACCELERATE.fullmatch(name)
    if match:
        number = "" if int(match[2]) == 0 else match[2]
        return RankName(_PARTS[match[1]], number, int(match[3]), None)
    return None


def group(paths: Iterable[str]) -> list[RankSet]:
    """Return the sets of rank files, by part and number."""
    sets: dict[tuple[str, str, int | None], RankSet] = {}
    for path in paths:
        name = parse(path.rpartition("/")[2])
        if name is not None:
            key = (name.part, name.number, name.world)
            sets.setdefault(key, RankSet(*key)).paths[name.rank] = path
    for rank_set in sets.values():
        rank_set.paths = dict(sorted(rank_set.paths.items()))
    order = ("model", "optimizer", EXTRA)
    return sorted(
        sets.values(), key=lambda rank_set: (order.index(rank_set.part), rank_set.number, rank_set.world or 0)
    )
