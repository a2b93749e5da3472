import os
import time
from threading import Barrier, Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed import HashStore, PrefixStore

import ckpt_core
from ckpt_core import knobs
from ckpt_core.codecs.safetensors.writer import plan_safetensors
from ckpt_core.errors import CorruptError, OverwriteError, UnreachableError, UnsupportedFormatError, UsageError
from ckpt_core.layouts.in_memory import checkpoint_of
from ckpt_core.reading.read_back import read_back
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, TensorBytes, WritePlan
from ckpt_core.storage.ranks import torchrun as rank_store
from ckpt_core.storage.ranks.meeting import Meeting
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.ranks.torchrun import of_environment
from ckpt_core.storage.writing import journal
from ckpt_core.storage.writing.execute import execute
from ckpt_core.storage.writing.local_files import LocalFiles
from ckpt_core.storage.writing.targets import open_target
from ckpt_core.verbs.save import save
from tests.storage.ranks_in_threads import in_ranks


class Numbered(Ranks):
    """A rank that is asked only for its share."""

    def __init__(self, rank, world):
        self.rank, self.world = rank, world


@pytest.fixture
def quick(monkeypatch):
    """Signs of life often enough for a test to wait for them."""
    monkeypatch.setattr(rank_store, "_BEAT", 0.05)


@given(st.lists(st.integers(0, 50)), st.integers(1, 6))
def test_shares_are_of_all_items_in_order(sizes, world):
    items = list(range(len(sizes)))
    shares = [Numbered(rank, world).share(items, sizes) for rank in range(world)]
    assert [item for share in shares for item in share] == items


def test_one_process_alone_waits_for_nobody():
    assert ALONE.exchange([1]) == [[1]]
    assert ALONE.from_leader("x") == "x"
    assert ALONE.part()
    ALONE.check()


def test_every_rank_learns_what_each_came_with():
    seen = in_ranks(3, lambda ranks: [ranks.exchange(ranks.rank), ranks.from_leader(f"of {ranks.rank}"), ranks.part()])
    assert seen == [[[0, 1, 2], "of 0", True]] * 3


def test_what_one_fails_with_ends_all(quick):
    def work(ranks):
        if ranks.rank == 1:
            raise CorruptError("m: broken", code="CV005", tensor="w", hint="copy it")
        ranks.exchange(None)

    first, own, last = in_ranks(3, work)
    assert own.message == "m: broken"
    for error in (first, last):
        assert type(error) is CorruptError
        assert (error.message, error.code, error.tensor, error.hint) == ("rank 1: m: broken", "CV005", "w", "copy it")


def test_an_error_that_is_no_one_of_ours_is_told_as_one(quick):
    first, _ = in_ranks(2, lambda ranks: ranks.exchange(None) if ranks.leads else 1 // 0)
    assert "rank 1: ZeroDivisionError" in first.message
    assert first.exit_code == 70


def test_work_stops_between_two_reads_when_another_has_failed(quick):
    def work(ranks):
        if not ranks.leads:
            raise OverwriteError("out: exists")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            ranks.check()

    assert type(in_ranks(2, work)[0]) is OverwriteError


def test_a_rank_without_signs_of_life_is_not_waited_for(quick):
    def work(ranks):
        if ranks.leads:
            ranks.exchange(None)
        ranks.stop_watching()

    with knobs.override(rank_timeout=1):
        error, _ = in_ranks(2, work)
    assert type(error) is UnreachableError
    assert "rank 1 has given no sign of life for 1 s" in error.message


class Clock:
    """The time of ranks, which passes when a test says so."""

    sleep = staticmethod(time.sleep)

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(quick, monkeypatch):
    monkeypatch.setattr(rank_store, "time", Clock())
    with knobs.override(rank_timeout=1_000_000):
        yield rank_store.time


def until(true):
    while not true():
        time.sleep(0.005)


def test_a_rank_that_lives_and_is_stuck_is_named_by_all_and_they_can_call_again(clock, tmp_path):
    store, freed, given_up = HashStore(), Event(), Barrier(2)

    def saved(ranks, number):
        with Meeting(store, ranks.rank, 3).work(str(number)) as together:
            if number == 1 and together.rank == 1:
                until(lambda: PrefixStore("1", store).add("0/came", 0) == 2)
                clock.now += 1801
                assert freed.wait(120), "in a write that does not come back"
            return save({"w": np.ones(3, "f4")}, str(tmp_path / "out"), format="dcp", ranks=together).tensors

    def work(ranks):
        with pytest.raises(UnreachableError) as raised:
            saved(ranks, 1)
        if ranks.rank != 1:
            given_up.wait(120)
            freed.set()
        assert os.listdir(tmp_path) == [] or ranks.rank == 1
        return [raised.value.message, saved(ranks, 2)]

    told = "rank 1 lives, and has not got on for 1800 s; nothing was committed, call it again once every rank is there"
    assert in_ranks(3, work) == [[told, 1]] * 3


def test_a_rank_that_gets_on_is_waited_for(clock):
    every = {}

    def work(ranks):
        every[ranks.rank] = ranks
        if ranks.rank:
            until(lambda: 0 in every)
            for moves in range(1, 5):
                ranks.check()  # as between two pieces of a long write
                until(lambda moves=moves: every[0]._heard[1].moved == str(moves).encode())
                clock.now += 1000
        return ranks.exchange(ranks.rank)

    assert in_ranks(2, work) == [[0, 1]] * 2


def _proves(place, number):
    assert ckpt_core.verify(str(place), depth="bytes").report.ok


def _saves_alone(place, number):
    save({"w": np.ones(9 << 18, "f4")}, str(place.parent / f"{number}.safetensors"))


@pytest.mark.parametrize("work", [_proves, _saves_alone])
def test_a_rank_that_reads_or_writes_alone_is_waited_for(clock, tmp_path, work):
    store, every, place = HashStore(), {}, tmp_path / "whole.safetensors"
    save({"w": np.ones(9 << 18, "f4")}, str(place))

    def led(ranks):
        with Meeting(store, ranks.rank, 2).work("resume") as together:
            every[ranks.rank] = together
            for number in range(4) if together.leads else ():
                work(place, number)
                until(lambda: 1 in every and every[1]._heard[0].moved == str(together._moves).encode())
                clock.now += 1000
            return together.exchange(together.rank)

    with knobs.override(workers=2):
        assert in_ranks(2, led) == [[0, 1]] * 2


def test_only_what_torchrun_has_started_has_ranks():
    """In the pods of some clusters WORLD_SIZE is always set, for whatever is run there by hand."""
    assert not of_environment({})
    assert not of_environment({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"})
    assert not of_environment({"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "a"})
    assert of_environment({"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"})


SIZES = [0, 1, 5, 300, 300_000, 700, 20, 300_001]


def weights():
    draw = np.random.default_rng(0)
    return {f"t{number}": draw.standard_normal(size).astype("f4") for number, size in enumerate(SIZES)}


def plan():
    """Tensors cut in two, over two files with checksums."""
    files = []
    for half in (0, 1):
        sections = [Literal(b"head")]
        for number, size in enumerate(SIZES):
            start, stop = (0, size // 2) if half == 0 else (size // 2, size)
            part = TensorBytes("model", f"t{number}", 4 * (stop - start), ((start,), (stop - start,)))
            sections += [part, LateBytes(4, lambda crcs, part=part: crcs[part].to_bytes(4, "little"))]
        files.append(FilePlan(f"{half}", tuple(sections), checksums=True))
    return WritePlan(tuple(files))


def contents(folder):
    return {name: (folder / name).read_bytes() for name in ("0", "1")}


@pytest.mark.parametrize("world", [2, 3, 12])
def test_any_number_of_ranks_write_the_same_bytes_and_know_the_same(world, tmp_path):
    (tmp_path / "alone").mkdir()
    (tmp_path / "ranks").mkdir()
    known = execute(plan(), checkpoint_of(weights()), LocalFiles(plan(), str(tmp_path / "alone")))
    seen = in_ranks(
        world,
        lambda ranks: execute(
            plan(), checkpoint_of(weights()), LocalFiles(plan(), str(tmp_path / "ranks")), ranks=ranks
        ),
    )
    assert seen == [known] * world
    assert contents(tmp_path / "ranks") == contents(tmp_path / "alone")


class Counting:
    """Hands through to a checkpoint, notes what is read, and fails at one tensor."""

    def __init__(self, base, fails_at=None):
        self._base, self._fails_at, self.read = base, fails_at, []

    def __getattr__(self, name):
        return getattr(self._base, name)

    def stream(self, component, name):
        if name == self._fails_at:
            raise UnreachableError(f"{name}: unplugged")
        self.read.append(name)
        return self._base.stream(component, name)


@pytest.mark.parametrize(("before", "after"), [(3, 2), (2, 3), (3, 1), (1, 3)])
def test_a_rerun_goes_on_from_the_journals_of_other_ranks(before, after, tmp_path, monkeypatch, quick):
    monkeypatch.setattr(journal, "_SYNC_AFTER", 1)
    (tmp_path / "alone").mkdir()
    execute(plan(), checkpoint_of(weights()), LocalFiles(plan(), str(tmp_path / "alone")))
    data = tmp_path / "stage" / "data"
    data.mkdir(parents=True)
    book = str(tmp_path / "stage" / "journal")
    journal.begin(book, "digest")
    done = []

    def run(ranks, fails_at=None):
        source = Counting(checkpoint_of(weights()), fails_at)
        try:
            return execute(plan(), source, LocalFiles(plan(), str(data), journal=book), ranks=ranks)
        finally:
            done.extend(source.read)

    with knobs.override(workers=1):
        assert all(isinstance(error, UnreachableError) for error in in_ranks(before, lambda r: run(r, "t4")))
        first = set(journal.finished_by_all(book))
        assert first
        done.clear()
        in_ranks(after, run)
    assert sorted(done) == sorted(name for _, name in checkpoint_keys() if ("model", name) not in first)
    assert contents(data) == contents(tmp_path / "alone")


def checkpoint_keys():
    return [("model", f"t{number}") for number in range(len(SIZES))]


@pytest.mark.parametrize("world", [2, 5])
def test_what_was_written_is_read_back_in_shares(world, tmp_path):
    save(weights(), str(tmp_path / "m.safetensors"))
    opened = ckpt_core.load(str(tmp_path / "m.safetensors"))
    known = read_back(opened)
    for found in in_ranks(world, lambda ranks: read_back(opened, ranks=ranks)):
        assert (found.files, found.tensors) == (known.files, known.tensors)


def written_by(ranks, place, state, **how):
    with open_target(str(place), format="safetensors", kind=LocationKind.FILE, ranks=ranks, **how) as target:
        checkpoint = checkpoint_of(state)
        component = checkpoint.component("model")
        names = dict(component.tensors.infos())
        file = plan_safetensors(target.name, component, names, metadata={})
        target.write(WritePlan((file,)), checkpoint)
        return target.staged


def test_ranks_share_one_stage_and_one_lock(tmp_path):
    stages = in_ranks(3, lambda ranks: written_by(ranks, tmp_path / "m.safetensors", weights()))
    assert len(set(stages)) == 1
    assert os.listdir(tmp_path) == []


def test_ranks_that_would_write_different_things_are_stopped(tmp_path, quick):
    errors = in_ranks(2, lambda ranks: written_by(ranks, tmp_path / "m", {"w": np.ones(3 + ranks.rank, "f4")}))
    assert all(isinstance(error, CorruptError) for error in errors)
    assert "have different sources or plans" in errors[0].message
    assert os.listdir(tmp_path) == []


def test_what_the_first_rank_is_refused_the_others_are_too(tmp_path, quick):
    (tmp_path / "m").write_bytes(b"there")
    errors = in_ranks(2, lambda ranks: written_by(ranks, tmp_path / "m", weights()))
    assert [type(error) for error in errors] == [OverwriteError, OverwriteError]
    assert (tmp_path / "m").read_bytes() == b"there"


def test_a_stage_that_a_rank_does_not_see_is_refused(tmp_path):
    class Elsewhere(Numbered):
        def from_leader(self, value):
            return [str(tmp_path), "m", "convert", 12345]

    with pytest.raises(UsageError, match="rank 1 does not see what rank 0 has made there"):
        written_by(Elsewhere(1, 2), tmp_path / "m", weights())


def test_ranks_do_not_write_to_memory():
    with pytest.raises(UnsupportedFormatError, match="write to a local path"):
        written_by(Numbered(0, 2), "memory://m", weights())
