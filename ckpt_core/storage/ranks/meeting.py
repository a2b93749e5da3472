"""A store where the processes of one training meet repeatedly.

They meet for one piece of work at a time. Each piece has keys of its own there, so that one that failed leaves nothing
that the next could take for its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.ranks.torchrun import StoreRanks, doing_together, meet

_AGAIN = "call it again once every rank is there"
"""What a training can do that was waiting for a rank."""


class Meeting:
    """The store, and which of how many ranks this process is.

    Args:
        store: A store of torch.distributed that all ranks reach, for this meeting alone.
        rank: Which of them this is.
        world: How many there are.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self._store = store

    @classmethod
    def of_torchrun(cls) -> "Meeting":
        """Meet at the store of torchrun, in a place of its own.

        Raises:
            UnreachableError: The store cannot be reached.
            UsageError: The environment is not that of torchrun.
        """
        return cls(*meet())

    @contextmanager
    def work(self, name: str) -> Iterator[Ranks]:
        """Yield the ranks for one piece of work.

        Every rank calls it by the same name. What ends the block of one rank with an error ends those of the others
        with the same.
        """
        from torch.distributed import PrefixStore

        store = PrefixStore(name, self._store)
        with doing_together(StoreRanks(store, self.rank, self.world, again=_AGAIN)) as ranks:
            yield ranks

    def say_first(self, key: str, text: str) -> str:
        """Put a text under an empty key, and return what it holds."""
        return bytes(self._store.compare_set(key, "", text)).decode()

    def heard(self, key: str) -> str | None:
        """Return the text under a key; None where nothing is."""
        return bytes(self._store.get(key)).decode() if self._store.check([key]) else None
