"""Counts missing ranks, and names the first.

A name or a file may claim any number of ranks, and costs no more for it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

SHOWN = 64
"""Missing ranks that are named each; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The first ranks that are missing, and how many more."""

    ranks: tuple[int, ...]
    more: int


def missing_of(world: int, present: Collection[int]) -> Missing:
    """Return the missing ones of `world` ranks.

    Those in `present` are there.
    """
    first = tuple(islice((rank for rank in range(world) if rank not in present), SHOWN))
    return Missing(first, world - sum(rank < world for rank in present) - len(first))
