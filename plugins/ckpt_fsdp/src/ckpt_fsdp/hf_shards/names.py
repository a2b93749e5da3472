"""The names of the files: which rank wrote one, and which of the model's files its tensors are meant for."""

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
    """A shard: its rank and number count from 1; `of` is the greatest number that there is."""

    rank: int
    number: int
    of: int
    path: str


def parse(path: str) -> ShardName | None:
    """The shard that a path names; None for any other file."""
    found = _SHARD.fullmatch(path.rpartition("/")[2])
    return ShardName(int(found[1]), int(found[2]), int(found[3]), path) if found else None


def shard_file(rank: int, number: int, of: int) -> str:
    """The name that torch gives to a shard."""
    return f"shard-{rank:05d}-model-{number:05d}-of-{of:05d}.safetensors"


def is_whole(path: str) -> bool:
    """Whether a path is one of the files that shards were joined into."""
    return _WHOLE.fullmatch(path.rpartition("/")[2]) is not None


def shards_of(paths: Iterable[str]) -> list[ShardName]:
    """The shards at the top of a listing, or else in its `sharded/`, in the order of their ranks."""
    found = [name for name in map(parse, paths) if name is not None]
    for folder in ("", FOLDER):
        here = [name for name in found if name.path.rpartition("/")[0] == folder]
        if here:
            return sorted(here)
    return []
