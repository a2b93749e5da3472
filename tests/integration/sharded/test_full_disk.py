"""Ranks of which one finds its disk full at any call that takes room: all learn of it, and what was there stays."""

import errno
import os
import shutil
from contextvars import ContextVar

import pytest
import torch

from ckpt_core.errors import BudgetError
from ckpt_core.layouts.in_memory import checkpoint_of_parts
from ckpt_core.storage.ranks import torchrun
from ckpt_core.verbs.load import load
from ckpt_core.verbs.save import SaveReport, save
from ckpt_core.verbs.verify import verify
from tests.storage.ranks_in_threads import in_ranks

RANKS = 4
LARGE = 9 << 20
"""Bytes of the last rank: several chunks, past the page cache."""

_rank: ContextVar[int | None] = ContextVar("rank", default=None)
"""The rank that a thread works for; its workers have it too."""


class Disk:
    """Counts the calls of one rank that take room, and fails them from one of them on."""

    def __init__(self, monkeypatch):
        self.who, self.calls, self.full_at = None, 0, None
        for name in ("fsync", "ftruncate", "mkdir", "open", "posix_fallocate", "pwrite", "rename", "write"):
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name, work):
        def call(*arguments, **options):
            reads = name == "open" and not arguments[1] & os.O_CREAT
            if _rank.get() is not None and _rank.get() == self.who and not reads:
                self.calls += 1
                if self.full_at is not None and self.calls >= self.full_at:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return work(*arguments, **options)

        return call

    def saved(self, folder, step, *, who=None, full_at=None):
        """What each rank finds when all save a step, and how many calls rank `who` made."""
        self.who, self.calls, self.full_at = who, 0, full_at

        def work(ranks):
            _rank.set(ranks.rank)
            elements = LARGE // 4 if ranks.rank == RANKS - 1 else 9
            own = {f"rng:rank-{ranks.rank}": {"own": torch.full((elements,), float(step + ranks.rank))}}
            state = {"model": {"w": torch.full((9,), float(step))}, "progress": {"step": step}, **own}
            place = str(folder / f"checkpoint-{step}")
            return save(checkpoint_of_parts(state), place, format="dcp", force=True, ranks=ranks)

        return in_ranks(RANKS, work), self.calls


SAMPLE = [("first", 0), ("middle", 0), ("last", RANKS - 1)]
"""A call of a rank, of all that it makes."""


def is_whole(place, step):
    return verify(str(place), depth="bytes").report.ok and load(str(place)).component("progress").state["step"] == step


def fails_and_goes_on(disk, folder, who, number):
    found, _ = disk.saved(folder, 2, who=who, full_at=number)
    two = folder / "checkpoint-2"
    if not all(isinstance(one, SaveReport) for one in found):  # what cannot be swept away is no failure
        assert [type(one) for one in found] == [BudgetError] * RANKS, found
        assert len({one.message.removeprefix(f"rank {who}: ") for one in found}) == 1, found
        assert "no space left on device" in found[0].message
    assert is_whole(folder / "checkpoint-1", 1)
    assert not two.exists() or is_whole(two, 2)
    assert [type(one) for one in disk.saved(folder, 2)[0]] == [SaveReport] * RANKS
    assert is_whole(two, 2)
    shutil.rmtree(two)
    assert sorted(path.name for path in folder.iterdir() if "ckpt-" in path.name) == []


@pytest.fixture
def disk(monkeypatch, tmp_path):
    monkeypatch.setattr(torchrun, "_BEAT", 0.05)
    found = Disk(monkeypatch)
    assert [type(one) for one in found.saved(tmp_path, 1)[0]] == [SaveReport] * RANKS
    return found


def calls_of(disk, folder, who):
    found, calls = disk.saved(folder, 2, who=who)
    assert [type(one) for one in found] == [SaveReport] * RANKS
    shutil.rmtree(folder / "checkpoint-2")
    return calls


def test_a_rank_whose_disk_is_full_fails_all_and_the_next_save_is_done(disk, tmp_path):
    for which, who in SAMPLE:
        calls = calls_of(disk, tmp_path, who)
        fails_and_goes_on(disk, tmp_path, who, {"first": 1, "middle": calls // 2, "last": calls}[which])


@pytest.mark.long
@pytest.mark.parametrize("who", [0, 1, RANKS - 1])
def test_every_call_that_takes_room_may_find_none(disk, tmp_path, who):
    calls = calls_of(disk, tmp_path, who)
    assert calls >= (12 if who == 0 else 4)
    for number in range(1, calls + 1):
        fails_and_goes_on(disk, tmp_path, who, number)
