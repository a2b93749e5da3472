"""Several processes that do one work.

They know which of them each is, and tell each other things.

One process alone is the case with one rank, so that nobody who does the work has to ask. How ranks of several
processes reach each other is in `rank_store`.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ckpt_core.storage.ranks.failures import as_error, described
from ckpt_core.storage.workers import split

T = TypeVar("T")


class Ranks:
    """This process, alone.

    Attributes:
        rank: Which of them this is, from 0.
        world: How many there are.
    """

    rank = 0
    world = 1

    @property
    def leads(self) -> bool:
        """Return whether this is the rank that locks, commits and speaks."""
        return self.rank == 0

    def exchange(self, value: Any) -> list[Any]:
        """Wait for every rank, and return the values of all.

        They come in the order of the ranks. Values are plain, as JSON has them.

        Raises:
            CkptError: Another rank failed: its error. Or it is gone, or silent.
        """
        return [value]

    def check(self) -> None:
        """Raise another rank's failure, where one failed.

        It is cheap, for between two reads; any thread may call it.
        """

    def fail(self, error: BaseException) -> BaseException:
        """Tell the others what this rank fails with.

        Before what they share is removed, or they would fail at that.

        Returns:
            What it fails with: this, or what another rank had failed with before, where this comes of that.
        """
        return error

    def part(self) -> bool:
        """End together; return whether the others were waited for.

        Rank 0 ends once it has said what there is to say, then the others.

        What has started them ends all as soon as one ends with an error.
        """
        return True

    def from_leader(self, value: Any) -> Any:
        """Return the value of rank 0.

        That of any other is not looked at.
        """
        return self.exchange(value if self.leads else None)[0]

    def to_leader(self, value: Any) -> list[Any] | None:
        """Return the values of all ranks at rank 0.

        None at any other. Every rank waits for all: what each tells all others grows with the square of their number.
        """
        every = self.exchange(value)
        return every if self.leads else None

    def dealt(self, values: Sequence[Any] | None) -> Any:
        """Return this rank's of the values that rank 0 has.

        It has one for each; what any other has is not looked at.
        """
        return self.from_leader(values)[self.rank]

    def together(self, step: Callable[[], T]) -> T:
        """Do a step on every rank, and give its result.

        There is a result only where all of them could.

        Raises:
            CkptError: Another rank failed: its error, the lowest rank's where several did. Or it is gone, or silent.
            Exception: What this rank's own step raised, once every other rank knows of it.
        """
        done: list[T] = []
        problem: Exception | None = None
        try:
            done.append(step())
        except Exception as error:
            problem = error
        told = self.exchange(None if problem is None else described(problem, self.rank))
        if problem is not None:
            raise problem
        for failed in told:
            if failed is not None:
                raise as_error(failed)
        return done[0]

    def share(self, items: Sequence[T], sizes: Sequence[int]) -> list[T]:
        """Return this rank's share of a list.

        One stretch of it, of about as many bytes as every other's.
        """
        shares = split(items, sizes, self.world)
        return shares[self.rank] if self.rank < len(shares) else []


ALONE = Ranks()
