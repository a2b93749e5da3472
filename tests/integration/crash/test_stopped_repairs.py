"""A repair stopped at each call that changes a file, and power lost after each: old, repaired, or undone byte for byte.

In place a stop may leave a part of the files changed; then the backup is there, and both undo and the next repair work.
"""

import os
import shutil

import pytest

import ckpt_core
from ckpt_core import Depth, knobs, repair, undo_repair
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save
from tests.integration.crash.disk import Disk, Recorder, Step, build
from tests.integration.crash.os_calls import Stopper, faults_of, in_child, intercept
from tests.integration.crash.scenarios import weights

_SAMPLE = 13
SOME_AND_ALL = pytest.mark.parametrize(
    "which",
    [lambda found: list(found)[::_SAMPLE], pytest.param(list, marks=pytest.mark.long)],
    ids=["some", "all"],
)


def a_model(place):
    """An index that lies, a seal without its digests, and a shard that nothing names."""
    save(weights(2), str(place), format="hf", options={"max_shard_size": "2KB"})
    index = place / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("-00001-of", "-00002-of"))
    shutil.copy(place / "model-00001-of-00004.safetensors", place / "model-00009-of-00009.safetensors")


def a_distributed_checkpoint(place):
    """A save that was stopped just before it gave its metadata the name."""
    source = place.parent / "source.safetensors"
    save(weights(2), str(source))
    convert(str(source), str(place), to="dcp", options={"ranks": "2"})
    os.rename(place / ".metadata", place / ".metadata.tmp")


BROKEN = pytest.mark.parametrize("make", [a_model, a_distributed_checkpoint], ids=lambda make: make.__name__)


def mend(place):
    with knobs.override(workers=1):
        return repair(str(place), in_place=True, accept_loss=True)


def undo(place):
    return undo_repair(str(place))


def content(place):
    """Every file but those of backups."""
    found = {str(path.relative_to(place)): path for path in sorted(place.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".ckpt-backup-")}


def has_backup(place):
    return any((folder / "steps.json").exists() for folder in place.glob(".ckpt-backup-*"))


class Known:
    """A broken checkpoint in a folder of its own, what it is when it is repaired, and the calls that a repair makes."""

    def __init__(self, make, folder):
        self.folder = folder / "broken"
        self.folder.mkdir()
        make(self.folder / "d")
        self.broken = content(self.folder / "d")
        place = self.copy(folder / "whole")
        ending = in_child(lambda: calls_of(mend, place, None))
        assert ending.well, ending
        self.calls = ending.value
        self.repaired = content(place)
        assert self.repaired != self.broken
        assert ckpt_core.verify(str(place), depth=Depth.BYTES).report.worst == 0

    def copy(self, to):
        return shutil.copytree(self.folder, to) / "d"

    def check(self, place, folder):
        """From any state undo leads to the broken one, and the next repair to the repaired one."""
        again = shutil.copytree(place.parent, folder) / "d"
        if has_backup(place):
            undo(place)
        assert content(place) == self.broken
        for one in (place, again):
            mend(one)
            assert content(one) == self.repaired
            assert not mend(one).plan.actions
        shutil.rmtree(place.parent)
        shutil.rmtree(folder)


def calls_of(work, place, fault):
    stopper = Stopper(fault)
    intercept(stopper)
    work(place)
    return stopper.names


@BROKEN
@SOME_AND_ALL
def test_a_repair_in_place_that_is_stopped_anywhere_can_be_undone_and_done(make, which, tmp_path):
    known = Known(make, tmp_path)
    for fault in which(faults_of(known.calls)):
        place = known.copy(tmp_path / "struck")
        ending = in_child(lambda place=place, fault=fault: calls_of(mend, place, fault))
        if not ending.killed and not ending.well:
            assert content(place) == known.broken, fault
            assert ending.exit_code in (5, 8), ending
        known.check(place, tmp_path / "again")


@BROKEN
@SOME_AND_ALL
def test_an_undo_that_is_stopped_anywhere_is_ended_by_the_next(make, which, tmp_path):
    known = Known(make, tmp_path)
    repaired = tmp_path / "repaired"
    mend(known.copy(repaired))
    counted = in_child(lambda: calls_of(undo, shutil.copytree(repaired, tmp_path / "counted") / "d", None))
    assert counted.well, counted
    for fault in which(faults_of(counted.value)):
        place = shutil.copytree(repaired, tmp_path / "struck") / "d"
        in_child(lambda place=place, fault=fault: calls_of(undo, place, fault))
        known.check(place, tmp_path / "again")


@BROKEN
@SOME_AND_ALL
def test_power_lost_anywhere_in_a_repair_in_place_can_be_undone_and_done(make, which, tmp_path):
    known = Known(make, tmp_path)
    for number, (lost, state) in enumerate(which(states(known, tmp_path / "recorded"))):
        out = tmp_path / f"lost{number}"
        build(state, out)
        try:
            known.check(out / "d", tmp_path / "again")
        except BaseException as error:
            error.add_note(f"{lost}: {sorted(state)}")
            raise


def states(known, folder):
    """Every state that power loss can leave while a repair is made, each once."""
    place = known.copy(folder)
    disk, seen = Disk(folder), set()

    def work():
        recorder = Recorder()
        intercept(recorder)
        mend(place)
        return [step._replace(data=step.data.hex()) for step in recorder.steps]

    for step in in_child(work).value:
        disk.do(Step(*step)._replace(data=bytes.fromhex(step[4])))
        for lost, state in disk.after_power_loss():
            key = frozenset(state.items())
            if key not in seen:
                seen.add(key)
                yield lost, state


@BROKEN
@SOME_AND_ALL
def test_a_repaired_copy_is_there_whole_or_not_at_all(make, which, tmp_path):
    known = Known(make, tmp_path)
    place = known.folder / "d"

    def write(out):
        with knobs.override(workers=1):
            repair(str(place), output=str(out), accept_loss=True)

    counted = in_child(lambda: calls_of(write, tmp_path / "counted" / "d", None))
    whole = content(tmp_path / "counted" / "d")
    assert whole == known.repaired
    for fault in which(faults_of(counted.value)):
        out = tmp_path / "struck" / "d"
        ending = in_child(lambda out=out, fault=fault: calls_of(write, out, fault))
        if out.exists():
            assert content(out) == whole
        else:
            assert not ending.well
            write(out)
            assert content(out) == whole
        assert content(place) == known.broken
        shutil.rmtree(out.parent)
