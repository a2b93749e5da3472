"""Reads the names of shard files.

They tell which rank wrote one, and which of the model's files its tensors are meant for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

FOLDER = "sharded"
"""Where the shards lie when the save joins them too; the joined files lie beside it."""

INDEX = "model.safetensors.index.json"

_SHARD = re.compile(r"shard-(\d{5,9})-model-(\d{5,9})-of-(\d{5,9})\.safetensors")
_WHOLE = re.compile(r"model-\d{5,9}-of-\d{5,9}\.safetensors")


@dataclass(frozen=True, slots=True, order=True)
class ShardName:
    """The name of a shard.

    Its rank and number count from 1; `of` is the greatest number that there is.
    """

    rank: int
    number: int
    of: int
    path: str


def parse(path: str) -> ShardName | None:
    """Parse the path of a shard.

    None for any other file.
    """
    match = _SHARD.fullmatch(path.rpartition("/")[2])
    return ShardName(int(match[1]), int(match[2]), int(match[3]), path) if match else None


def shard_file(rank: int, number: int, of: int) -> str:
    """Return the name that torch gives to a shard."""
    return f"shard-{rank:05d}-model-{number:05d}-of-{of:05d}.safetensors"


def is_whole(path: str) -> bool:
    """Return True for a file that shards were joined into."""
    return _WHOLE.fullmatch(path.rpartition("/")[2]) is not None


def shards_of(paths: Iterable[str]) -> list[ShardName]:
    """Return the shards of a listing, by rank.

    They are those at its top, or else in its `sharded/`.
    """
    shards = [name for name in map(parse, paths) if name is not None]
    for folder in ("", FOLDER):
        here = [name for name in shards if name.path.rpartition("/")[0] == folder]
        if here:
            return sorted(here)
    return []
