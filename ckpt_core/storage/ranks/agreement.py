"""That all ranks are about the same work, said before the first of them writes."""

from ckpt_core.errors import CorruptError
from ckpt_core.schema.locations import Location
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
