"""Ranks of several processes that torchrun has started.

They meet at its store, and watch that the others live.

Nothing is sent from rank to rank but numbers and digests, so the key-value store of torch.distributed is enough: no
process group, no network of its own, no GPU. What a rank fails with is put there too, and ends the work of all. Each
rank leaves a sign of life every two seconds, and in it how far it has come; one whose signs stop is gone, one that
lives and does not get on is stuck, and the others do not wait for either.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Any, NamedTuple

from ckpt_core import knobs
from ckpt_core.errors import CkptError, UnreachableError, UsageError
from ckpt_core.storage.ranks.failures import as_error, described
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.workers import shared_with_ranks_here, telling_how_it_gets_on

_BEAT = 2.0
"""Seconds between two signs of life."""

_POLL = 0.0005, 0.1
"""Seconds between two looks for who has come: at first, and after a while."""

_POLL_PER_RANK = 0.002
"""Seconds of that while for each rank: few of them ask so often for little."""

_FAREWELL = 10.0
"""Seconds for which a rank that has failed waits for the first one to say so: where one ends, all are killed."""


def of_environment(environment: Mapping[str, str]) -> bool:
    """Return whether torchrun has started this process as one of several."""
    return environment.get("WORLD_SIZE", "1") != "1" and "TORCHELASTIC_RUN_ID" in environment


@contextmanager
def torchrun_ranks() -> Iterator[Ranks]:
    """Give the ranks that torchrun has started.

    All of them run the block; where there are none, this process is alone.

    What ends the block of one rank with an error ends that of the others with the same. Each of several on one machine
    takes its part of the workers.

    Raises:
        UnreachableError: The others cannot be reached, one is gone, or is silent.
        UsageError: Torch is not there, or the environment is not that of torchrun.
    """
    if not of_environment(os.environ):
        yield ALONE
        return
    with doing_together(StoreRanks(*meet())) as ranks:
        yield ranks


@contextmanager
def doing_together(ranks: "StoreRanks") -> Iterator[Ranks]:
    """Give the ranks to a block that all of them run.

    What ends it at one rank with an error ends it at the others with the same. Each piece that it reads or writes is
    told them as a sign that it gets on.
    """
    try:
        with shared_with_ranks_here(), telling_how_it_gets_on(ranks.got_on):
            yield ranks
    except BaseException as error:
        first = ranks.fail(error)
        if first is not error:
            raise first from error
        raise
    finally:
        ranks.stop_watching()


class _Sign(NamedTuple):
    """The last sign of life, and since when it is so.

    `moved` is how far the rank had come, and `moved_at` since when it is there.
    """

    text: bytes
    at: float
    moved: bytes
    moved_at: float


class StoreRanks(Ranks):
    """One of several ranks.

    Args:
        store: A store of torch.distributed that all of them reach.
        rank: Which of them this is.
        world: How many there are.
        again: What to do where one is gone or stuck, for messages.
    """

    def __init__(self, store: Any, rank: int, world: int, *, again: str = "run it again at all ranks") -> None:
        self.rank, self.world = rank, world
        self._store = store
        self._again = again
        self._step = self._moves = 0
        self._problem: CkptError | None = None
        self._ended = Event()
        now = time.monotonic()
        self._heard = {other: _Sign(b"", now, b"", now) for other in range(world) if other != rank}
        self._thread = Thread(target=self._watch, name="ckpt-ranks", daemon=True)
        self._thread.start()

    def exchange(self, value: Any) -> list[Any]:
        return self._met(value, range(self.world))

    def from_leader(self, value: Any) -> Any:
        return self._met(value if self.leads else None, [0])[0]

    def to_leader(self, value: Any) -> list[Any] | None:
        told = self._met(value, range(self.world) if self.leads else ())
        return told if self.leads else None

    def dealt(self, values: Sequence[Any] | None) -> Any:
        keys = [f"{self._step}/for/{other}" for other in range(self.world)]
        for key, value in zip(keys, values or (), strict=False):
            self._do(lambda key=key, value=value: self._store.set(key, json.dumps(value)))
        self._met(None, ())
        text = bytes(self._do(lambda: self._store.get(keys[self.rank])))
        self._do(lambda: self._store.delete_key(keys[self.rank]))
        return json.loads(text)

    def _met(self, value: Any, wanted: Sequence[int]) -> list[Any]:
        """Tell a value, wait for every rank, and return those of some."""
        step, self._step = self._step, self._step + 1
        self._do(lambda: self._store.set(f"{step}/{self.rank}", json.dumps(value)))
        if self._do(lambda: self._store.add(f"{step}/came", 1)) < self.world:
            self._await(step)
        keys = [f"{step}/{other}" for other in wanted]
        told = self._do(lambda: self._store.multi_get(keys)) if keys else ()
        # Whoever has come to this step has read all of the last: a training would fill the store with its saves.
        for own in (self.rank, "came") if self.leads else (self.rank,):
            self._do(lambda key=f"{step - 1}/{own}": self._store.delete_key(key))
        self._moves += 1
        return [json.loads(one) for one in told]

    def got_on(self) -> None:
        """Let the others know that this rank is not stuck."""
        self._moves += 1

    def check(self) -> None:
        self.got_on()
        self._raise_problem()

    def fail(self, error: BaseException) -> BaseException:
        own = json.dumps(described(error, self.rank))
        try:
            first = bytes(self._store.compare_set("failed", "", own)).decode()
        except RuntimeError:
            return error  # the store is gone, and with it the others
        # What is gone or does not answer may be gone because another rank has failed.
        return error if first == own or not isinstance(error, UnreachableError) else as_error(json.loads(first))

    def stop_watching(self) -> None:
        self._ended.set()
        self._thread.join()

    def part(self) -> bool:
        others = [f"parted/{other}" for other in (range(1, self.world) if self.leads else (0,))]
        until = time.monotonic() + _FAREWELL
        try:
            self._store.set(f"parted/{self.rank}", "")
            while not self._store.check(others):
                if time.monotonic() > until:
                    return False
                time.sleep(_POLL[0])
        except RuntimeError:
            return False  # as above: there is nobody left to wait for
        return True

    def _await(self, step: int) -> None:
        """Wait until all ranks have come to a step."""
        pause, most = _POLL[0], min(_POLL[1], _POLL_PER_RANK * self.world)
        began = time.monotonic()
        while self._do(lambda: self._store.add(f"{step}/came", 0)) < self.world:
            self._raise_problem()
            self._refuse_stuck(step, began)
            time.sleep(pause)
            pause = min(pause * 1.5, most)

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _refuse_stuck(self, step: int, began: float) -> None:
        """Raise where a rank has stood still for too long."""
        now, limit = time.monotonic(), knobs.rank_wait()
        if now - began <= limit:
            return
        for other, sign in self._heard.items():
            if now - sign.moved_at > limit and not self._do(lambda key=f"{step}/{other}": self._store.check([key])):
                raise self._lost(f"rank {other} lives, and has not got on for {limit} s")

    def _do(self, ask: Any) -> Any:
        try:
            return ask()
        except RuntimeError as error:
            raise self._lost("the store where the ranks meet is gone") from error

    def _lost(self, reason: str) -> UnreachableError:
        return _lost(reason, self._again)

    def _watch(self) -> None:
        count = 0
        while self._problem is None and not self._ended.wait(_BEAT if count else 0):
            count += 1
            try:
                self._problem = self._look(count)
            except RuntimeError:
                self._problem = self._lost("the store where the ranks meet is gone")

    def _look(self, count: int) -> CkptError | None:
        """Leave a sign of life, and see to the others'."""
        self._store.set(f"alive/{self.rank}", f"{count} {self._moves}")
        if self._store.check(["failed"]):
            return as_error(json.loads(self._store.get("failed")))
        now, limit = time.monotonic(), knobs.rank_timeout()
        for other, sign in self._heard.items():
            key = f"alive/{other}"
            found = bytes(self._store.get(key)) if self._store.check([key]) else b""
            if found != sign.text:
                moved = found.partition(b" ")[2]
                self._heard[other] = _Sign(found, now, moved, sign.moved_at if moved == sign.moved else now)
            elif now - sign.at > limit:
                return self._lost(f"rank {other} has given no sign of life for {limit} s")
        return None


def meet() -> tuple[Any, int, int]:
    """Return torchrun's store, this rank and the world size.

    The store has a prefix of this run.
    """
    try:
        from torch.distributed import PrefixStore, rendezvous
    except ImportError:
        raise UsageError("WORLD_SIZE: several ranks need torch to meet; install torch, or run one process") from None
    try:
        store, rank, world = next(rendezvous("env://", timeout=timedelta(seconds=knobs.rank_timeout())))
        # A script that torchrun has started may run ckpt more than once.
        run = store.add(f"ckpt/runs/{rank}", 1)
    except ValueError as error:
        raise UsageError(f"the environment is not that of torchrun ({error}); unset WORLD_SIZE") from error
    except (RuntimeError, OSError) as error:
        raise _lost("the store where the ranks meet cannot be reached", "run it again at all ranks") from error
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"ckpt/{restarts}/{run}", store), rank, world


def _lost(reason: str, again: str) -> UnreachableError:
    return UnreachableError(f"{reason}; nothing was committed, {again}")
