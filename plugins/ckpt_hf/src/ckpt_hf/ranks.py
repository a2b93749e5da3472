"""Adds the random states of every rank.

There is one file for one process, one a rank for several; missing ranks are noted.
"""

import re
from itertools import count, islice

from ckpt_core import Files, Presence
from ckpt_core.layouts import CheckpointBuilder

_EVIDENCE = (
    re.compile(r"(?:.*/)?__(\d+)_\d+\.distcp"),
    re.compile(r"(?:.*/)?(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_\d+_.*\.pt"),
)
"""Files of which each rank writes its own, by DCP and by DeepSpeed: with them the number of ranks is known."""

_SHOWN = 64
"""Missing ranks that have a line each; a name may claim a rank of any number, and the rest are counted."""


def add_ranks(builder: CheckpointBuilder, own: re.Pattern[str], *, alone: str, pattern: str) -> None:
    """Add the random state of each rank.

    A role says which are missing.

    Args:
        builder: What the directory has so far.
        own: Matches the name of a rank's file; its first group is the rank, None for the only process.
        alone: The name of the file where there is one process.
        pattern: The name of a rank's file, with `{}` for the rank.
    """
    names = {path: match for path in builder.files.entries if (match := own.fullmatch(path))}
    numbered = {int(match[1]): path for path, match in names.items() if match[1] is not None}
    unnumbered = alone in names and names[alone][1] is None
    if unnumbered:
        builder.torch_component("rng", alone)
    world = max(ranks_seen(builder.files), max(numbered, default=-1) + 1)
    if not numbered and world <= 1:
        if not unnumbered:
            builder.role("rng", Presence.ABSENT, alone)
        return
    if unnumbered and not numbered:
        return
    for rank, path in sorted(numbered.items()):
        builder.torch_component("rng", path, name=str(rank))
    # Where one process has a name of its own, a file with a number means that there are two at least.
    _say_missing(builder, numbered, max(world, 2 if alone != pattern.format(0) else 1), pattern)


def _say_missing(builder: CheckpointBuilder, numbered: dict[int, str], world: int, pattern: str) -> None:
    missing = world - len(numbered)
    for rank in islice((rank for rank in count() if rank not in numbered), min(missing, _SHOWN)):
        builder.role("rng", Presence.ABSENT, pattern.format(rank), name=str(rank))
    if missing > _SHOWN:
        builder.role("rng", Presence.ABSENT, note=f"{missing - _SHOWN} more ranks of {world}", name="others")


def ranks_seen(files: Files) -> int:
    """Return how many ranks have left files below.

    Files of their own in the shards; 0 where none tell.
    """
    ranks = [
        int(match[1]) for path in files.entries for expression in _EVIDENCE if (match := expression.fullmatch(path))
    ]
    return max(ranks, default=-1) + 1
