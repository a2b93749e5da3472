"""Agreement of all ranks about the work, before any writes."""

from collections.abc import Mapping
from typing import Any

from ckpt_core.errors import CorruptError, UsageError
from ckpt_core.schema.locations import Location
from ckpt_core.schema.text import printable
from ckpt_core.storage.ranks.ranks import Ranks


def agree(ranks: Ranks, digest: str, location: Location) -> None:
    """Compare the digests of plan and source of all ranks.

    Raises:
        CorruptError: Another rank would write something else: then it reads something else too.
    """
    for rank, other in enumerate(ranks.exchange(digest)):
        if other != digest:
            raise CorruptError(
                f"{location}: rank {rank} and rank {ranks.rank} have different sources or plans; "
                "give every rank the same command, files and version of ckpt; nothing was committed"
            )


def agree_on(ranks: Ranks, asked: Mapping[str, Any]) -> None:
    """Compare what all ranks were asked for.

    Raises:
        UsageError: Another rank was asked for something else; it names the first such thing.
    """
    every = ranks.exchange({name: repr(value) for name, value in asked.items()})
    for rank, other in enumerate(every):
        for name in dict.fromkeys((*every[0], *other)):
            own, its = every[0].get(name, "nothing"), other.get(name, "nothing")
            if own != its:
                raise UsageError(
                    f"{name}: rank 0 has {printable(own)} and rank {rank} {printable(its)}; give all ranks the same "
                    "code, options and step; nothing was saved"
                )
