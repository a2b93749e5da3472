"""The ranks of a training, as its Checkpointer asks them.

One process alone is asked nothing.

Rank 0 has the folder: it keeps others out, chooses what to go on from, commits and removes. What all ranks have alike,
such as a schedule, is saved as rank 0 has it; the random state is each rank's own. Whether a save is due by the clock,
and whether to end, is decided by one rank and done by all behind the same step: it is said before the rank enters the
next step, in which it meets all others, as every data-parallel step does.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.layouts.in_memory import LiveCheckpoint
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.storage.ranks.agreement import agree_on
from ckpt_core.storage.ranks.meeting import Meeting
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.ranks.torchrun import of_environment
from ckpt_core.training.choosing import Chosen, Plan
from ckpt_core.training.data.keyed_loader import KeyedLoader
from ckpt_core.training.preemption import Preemption
from ckpt_core.training.ranks.following import FollowingRun
from ckpt_core.training.record import Record
from ckpt_core.training.run import Run
from ckpt_core.verbs.load import load

T = TypeVar("T")


class Saving(NamedTuple):
    """A save that has begun: its ranks, and what all record.

    `replaces` is whether a checkpoint of that step is there.
    """

    ranks: Ranks
    record: Record
    replaces: bool


Begin = Callable[[], AbstractContextManager[Saving]]
"""Begins a save, and ends it with its block."""

Choose = Callable[[Plan[T] | None], Chosen[T] | None]
"""Chooses what to go on from, with a plan of it or without."""

_OWN = "rng"
"""The component that each rank has its own of."""


class Team:
    """This process, alone."""

    rank, world = 0, 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def run(self, run: Run) -> Run:
        """Return the run as this rank has it."""
        return run

    def refuse(self, format: str, loader: Any) -> None:
        """Refuse formats and loaders that several ranks cannot share.

        Raises:
            UsageError: One process writes the format, or the loader gives all ranks the same.
        """

    def saving(self, run: Run, record: Record) -> "Begin":
        """Return what begins a save, in this thread or in another.

        Where it is another, several ranks do not hold up the loop to meet.

        Raises:
            CkptError: The run is not this training's, or cannot be written to; of several ranks it is raised where the
                save begins.
        """
        run.open()
        run.refuse_strangers()
        alone = Saving(ALONE, record, record.step in run.known)
        return lambda: nullcontext(alone)

    def refuse_gradients(self) -> None:
        """Raise UsageError where added gradients are each rank's own."""

    def own_label(self) -> str:
        """Return the label of this rank's random state."""
        return _OWN

    def saved_label(self, world: int) -> str | None:
        """Return the label of this rank's random state.

        None where another number of ranks saved.
        """
        return _OWN if world == 1 else None

    def own_part(self, live: LiveCheckpoint) -> LiveCheckpoint:
        """Return what this rank has to say of a state."""
        return live

    def chosen(self, choose: Choose[T], plan: Plan[T]) -> Chosen[T] | None:
        """Return what rank 0 chooses, opened at every rank.

        It is planned for while it is proved where there is one rank; the plan of several is made by all of them.
        """
        return choose(plan)

    def each(self, name: str, do: Callable[[], T]) -> T:
        """Do a step at every rank; where one cannot, all fail."""
        return do()

    def is_to_end(self, step: int, preemption: Preemption) -> bool:
        """Return True if a signal asked to end behind this step."""
        return preemption.signal is not None

    def is_due(self, step: int, due: bool) -> bool:
        """Return True if the clock makes a save due now."""
        return due


class RanksTeam(Team):
    """One of several ranks.

    All of them call every method, in the same order.

    Args:
        meeting: Where they meet.
    """

    def __init__(self, meeting: Meeting) -> None:
        self.rank, self.world = meeting.rank, meeting.world
        self._meeting = meeting
        self._count = 0
        self._ending: str | None = None
        self._saves = 0

    def run(self, run: Run) -> Run:
        return run if self.leads else FollowingRun(run.path)

    def refuse(self, format: str, loader: Any) -> None:
        if format != "dcp":
            raise UsageError(
                f"{argument('format', format)}: is written by one process, and this training has {self.world}; give "
                f"{argument('format', 'dcp')}, and turn its checkpoints into others with ckpt convert"
            )
        if loader is not None and not isinstance(loader, KeyedLoader):
            raise UsageError(
                f"{argument('loader')}: a {type(loader).__name__} has no position that {self.world} ranks share; give "
                "a training.KeyedLoader that deals its batches out to them"
            )
        if isinstance(loader, KeyedLoader) and loader.share != (self.rank, self.world):
            raise UsageError(
                f"{argument('loader')}: it is of rank {loader.share[0]} of {loader.share[1]}, and this is rank "
                f"{self.rank} of {self.world}; give it {argument('rank', self.rank)} and "
                f"{argument('world', self.world)}, or all ranks learn from the same samples"
            )

    def saving(self, run: Run, record: Record) -> "Begin":
        met = self._work("save", step=record.step)

        @contextmanager
        def begun() -> Iterator[Saving]:
            with met() as ranks:
                said = None
                if self.leads:
                    run.open()
                    run.refuse_strangers()
                    said = [*_plain(record), record.step in run.known]
                state, history, best, replaces = ranks.from_leader(said)
                state |= {"history": {int(step): one for step, one in history}, "best": best}
                yield Saving(ranks, Record.of_state(state, "rank 0"), replaces)

        return begun

    def refuse_gradients(self) -> None:
        raise UsageError(
            "gradients are added up and not yet stepped with, and each rank has its own; save behind a step of the "
            "optimizer (loader.steps)"
        )

    def own_label(self) -> str:
        return self.saved_label(self.world) or _OWN

    def saved_label(self, world: int) -> str | None:
        if world != self.world:
            return None
        return _OWN if self.leads else f"{_OWN}:rank-{self.rank}"

    def own_part(self, live: LiveCheckpoint) -> LiveCheckpoint:
        return live if self.leads else live.spread_parts(beside=(self.own_label(),))

    def chosen(self, choose: Choose[T], plan: Plan[T]) -> Chosen[T] | None:
        with self._work("resume")() as ranks:
            found = choose(None) if self.leads else None
            said = ranks.from_leader(None if found is None else [str(found.checkpoint.location), dict(found.rejected)])
            if said is None or found is not None:
                ranks.exchange(None)
                return found
            checkpoint = load(said[0])
            ranks.exchange(None)
            return Chosen(checkpoint, said[1])

    def each(self, name: str, do: Callable[[], T]) -> T:
        with self._work(name)() as ranks:
            done = do()
            ranks.exchange(None)
            return done

    def is_to_end(self, step: int, preemption: Preemption) -> bool:
        if preemption.signal is not None and self._ending is None:
            self._ending = self._meeting.say_first("end", f"{step + 1} {preemption.signal}")
        self._ending = self._ending or self._meeting.heard("end")
        if self._ending is None:
            return False
        behind, number = map(int, self._ending.split())
        preemption.signal = number
        return step >= behind

    def is_due(self, step: int, due: bool) -> bool:
        key = f"due/{self._saves}"
        if self.leads and due and self._meeting.heard(key) is None:
            self._meeting.say_first(key, str(step + 1))
        said = self._meeting.heard(key)
        if said is None or step < int(said):
            return False
        self._saves += 1
        return True

    def _work(self, name: str, **about: Any) -> Callable[[], AbstractContextManager[Ranks]]:
        """Return a context of the ranks for work in any thread.

        All are asked for the same, or none begins it.
        """
        self._count += 1
        number = self._count

        @contextmanager
        def ranks_of() -> Iterator[Ranks]:
            with self._meeting.work(str(number)) as ranks:
                agree_on(ranks, {"call": name, **about})
                yield ranks

        return ranks_of


def team_of_process() -> Team:
    """Return this process among the others of its training.

    It is alone where torch.distributed was not begun.

    Raises:
        UsageError: There are several, and torchrun has not started them.
    """
    import os

    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return Team()
    if not of_environment(os.environ):
        raise UsageError("several ranks meet at the store of torchrun; start this training with torchrun")
    return RanksTeam(Meeting.of_torchrun())


def saved_world(checkpoint: StoredCheckpoint, label: str) -> int:
    """Return how many ranks saved a checkpoint.

    Its component of this label says so.
    """
    state = checkpoint.component(label).state
    world = state.get("world_size", 1) if isinstance(state, Mapping) else 1
    return world if isinstance(world, int) else 1


def _plain(record: Record) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """A record as JSON has it, which has no numbers for keys."""
    state = record.as_state()
    history = [[step, dict(metrics)] for step, metrics in record.history.items()]
    return {key: value for key, value in state.items() if key not in ("history", "metrics")}, history, state["best"]
