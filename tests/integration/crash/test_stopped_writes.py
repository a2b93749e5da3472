"""A save or conversion stopped at each call that changes a file: old or new, a clear error, and the next run works."""

import errno
import mmap
import os
import shutil

import pytest

from ckpt_core.storage.writing import syscalls
from tests.integration.crash.os_calls import Stopper, faults_of, in_child, intercept
from tests.integration.crash.scenarios import (
    BY_TORCH,
    LARGEST,
    SCENARIOS,
    SLAB,
    TENSORS,
    contents,
    digest_at,
    fresh_copy,
    members,
)

_CODES = {"ENOSPC": 8, "EIO": 5}
_SAMPLE = 17
"""Every so many faults one is taken in the usual run; prime, so that each kind comes at all sorts of calls."""


class Undisturbed:
    """A run without a fault: the calls it makes, what it leaves, and the digests before and after."""

    def __init__(self, scenario, folder, *, exchange=True):
        self.scenario = scenario
        self.before = scenario.lay_out(folder)
        self.old = digest_at(self.before[1] / scenario.place)
        place = fresh_copy(self.before, folder / "undisturbed")
        ending = stopped(scenario, place, None, exchange=exchange)
        assert ending.well, ending
        self.calls = ending.value
        self.new = digest_at(place[1] / scenario.place)
        self.contents = contents(place[1])
        assert self.new not in (None, self.old)
        assert set(os.listdir(place[1])) == scenario.names


def stopped(scenario, place, fault, *, exchange=True):
    def work():
        stopper = Stopper(fault)
        intercept(stopper)
        if not exchange:
            forbid_exchange()
        scenario.run(*place)
        return stopper.names

    return in_child(work)


def forbid_exchange():
    """A filesystem on which names cannot be exchanged, as many mounts are."""
    inner = syscalls.renameat2
    syscalls.renameat2 = lambda source, target, flags: errno.EINVAL if flags == 2 else inner(source, target, flags)


def check(known, place, ending, fault):
    """What must hold after a run that was disturbed, whatever happened to it."""
    scenario, (_, out) = known.scenario, place
    found = digest_at(out / scenario.place)
    assert found in (known.old, known.new)
    assert members(out) <= {scenario.place}
    if ending.well:
        assert found == known.new
    elif not ending.killed:
        assert ending.exit_code == _CODES[fault.how], ending
        assert "\n" not in ending.message
        assert str(out) in ending.message
        assert ("nothing was committed" in ending.message) == (found == known.old), ending
    check_next_run(known, place)


def check_next_run(known, place):
    known.scenario.run(*place)
    assert digest_at(place[1] / known.scenario.place) == known.new
    assert set(os.listdir(place[1])) == known.scenario.names
    assert contents(place[1]) == known.contents


def strike(known, faults, folder):
    for fault in faults:
        place = fresh_copy(known.before, folder)
        ending = stopped(known.scenario, place, fault)
        try:
            check(known, place, ending, fault)
        except BaseException as error:
            name = known.calls[fault.number - 1]
            error.add_note(f"{known.scenario.title}, {fault.how} at call {fault.number} of {len(known.calls)} ({name})")
            raise
        shutil.rmtree(folder)


def some(faults):
    return faults[::_SAMPLE]


SOME_AND_ALL = pytest.mark.parametrize("which", [some, pytest.param(list, marks=pytest.mark.long)], ids=["some", "all"])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.title)
@SOME_AND_ALL
def test_a_write_stopped_anywhere_leaves_the_old_or_the_new(scenario, which, tmp_path):
    known = Undisturbed(scenario, tmp_path / "known")
    strike(known, which(faults_of(known.calls)), tmp_path / "struck")


@pytest.mark.long
def test_a_save_by_torch_stopped_anywhere_leaves_nothing_or_all(tmp_path):
    known = Undisturbed(BY_TORCH, tmp_path / "known")
    strike(known, faults_of(known.calls)[::5], tmp_path / "struck")  # each takes torch a second


@SOME_AND_ALL
def test_a_directory_is_replaced_where_names_cannot_be_exchanged(which, tmp_path):
    """Between two renames nothing has the name; the former content lies beside it, whole, and comes back."""
    scenario = next(s for s in SCENARIOS if s.title == "forced replace of a directory")
    known = Undisturbed(scenario, tmp_path / "known", exchange=False)
    for fault in which(faults_of(known.calls)):
        place = fresh_copy(known.before, tmp_path / "struck")
        ending = stopped(scenario, place, fault, exchange=False)
        if ending.killed and not os.path.lexists(place[1] / "d"):
            assert digest_at(place[1] / ".d.ckpt-old") == known.old
            check_next_run(known, place)
        else:
            check(known, place, ending, fault)
        shutil.rmtree(tmp_path / "struck")


def spread(items, count):
    """So many of them, evenly from the first to the last."""
    return [items[round(number * (len(items) - 1) / (count - 1))] for number in range(count)]


def test_a_conversion_killed_at_twenty_points_is_the_same_after_a_rerun(tmp_path):
    """Byte for byte, the seal and its certificates included."""
    scenario = next(s for s in SCENARIOS if s.title == "conversion to dcp")
    known = Undisturbed(scenario, tmp_path / "known")
    whole = everything(tmp_path / "known" / "undisturbed" / "out")
    for fault in spread([f for f in faults_of(known.calls) if f.how in ("before", "after", "torn")], 20):
        place = fresh_copy(known.before, tmp_path / "struck")
        assert stopped(scenario, place, fault).killed
        if not os.path.lexists(place[1] / "d"):
            scenario.run(*place)
        assert everything(place[1]) == whole
        shutil.rmtree(tmp_path / "struck")


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if "conversion" in s.title], ids=lambda s: s.title)
@SOME_AND_ALL
def test_a_conversion_killed_anywhere_is_run_again_without_force(scenario, which, tmp_path):
    """It ends well wherever it was killed, behind its rename as well; the same bytes, the seal too, and no debris."""
    known = Undisturbed(scenario, tmp_path / "known")
    whole = everything(tmp_path / "known" / "undisturbed" / "out")
    killed = [f for f in faults_of(known.calls) if f.how in ("before", "after", "torn")]
    behind = killed[-30:]
    for fault in {*which(killed), *which(behind), *behind[-12::3]}:
        place = fresh_copy(known.before, tmp_path / "struck")
        assert stopped(scenario, place, fault).killed
        for _ in range(2):
            scenario.write(place[0], str(place[1] / scenario.place), False)
            assert everything(place[1]) == whole, fault
        shutil.rmtree(tmp_path / "struck")


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Meter:
    """Bytes read of one file, counted where a killed child's count can still be read."""

    def __init__(self, path):
        self._path = os.path.realpath(path)
        self._shared = mmap.mmap(-1, 8)

    @property
    def read(self):
        return int.from_bytes(self._shared[:8], "little")

    def install(self):
        inner = os.preadv

        def preadv(descriptor, *rest):
            count = inner(descriptor, *rest)
            if os.readlink(f"/proc/self/fd/{descriptor}") == self._path:
                self._shared[:8] = (self.read + count).to_bytes(8, "little")
            return count

        os.preadv = preadv


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if "conversion" in s.title], ids=lambda s: s.title)
@SOME_AND_ALL
def test_a_conversion_that_was_killed_goes_on_where_it_was(scenario, which, tmp_path):
    """All that the killed run had read and the journal had noted is not read again: at most one tensor is, and
    what is less than a slab."""
    known = Undisturbed(scenario, tmp_path / "known")
    source = known.before[0] / "model.safetensors"

    def read_by_run(place, fault):
        meter = Meter(source)

        def metered():
            meter.install()
            intercept(Stopper(fault))
            scenario.run(*place)

        assert in_child(metered).killed == (fault is not None)
        return meter.read

    most = read_by_run(fresh_copy(known.before, tmp_path / "metered"), None)
    opening = most - TENSORS
    named = max(number for number, name in enumerate(known.calls, 1) if name in ("rename", "renameat2"))
    removed = max(number for number, name in enumerate(known.calls[:named], 1) if name == "unlink")
    faults = [f for f in faults_of(known.calls) if f.how in ("before", "after", "torn") and f.number < removed]
    for fault in which(faults):
        place = fresh_copy(known.before, tmp_path / "struck")
        first = read_by_run(place, fault)
        again = read_by_run(place, None)
        assert contents(place[1]) == known.contents
        assert again <= most - max(first - opening, 0) + LARGEST + SLAB, fault
        shutil.rmtree(tmp_path / "struck")
