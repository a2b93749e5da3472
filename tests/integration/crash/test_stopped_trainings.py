"""A save of a training stopped at each call that changes a file: a whole one is found, and the next save works."""

import os
import re
import shutil

import pytest
import torch

from ckpt_core.training import Checkpointer
from tests.integration.crash.disk import Disk, Recorder, Step, build
from tests.integration.crash.os_calls import Stopper, faults_of, in_child, intercept

torch.set_num_threads(1)

_SAMPLE = 13
_CODES = {"ENOSPC": 8, "EIO": 5}


def objects(value):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.fill_(value)
            optimizer.state[tensor]["momentum_buffer"] = torch.full_like(tensor, value)
    return {"model": model, "optimizer": optimizer}


def saved(run, step, background=False):
    """Go on from what is there, and save a step at which everything has the value of its number."""
    with Checkpointer(run, keep=1, **objects(0.0)) as saver:
        found = saver.resume().step
    with Checkpointer(run, keep=1, background=background, **objects(float(step))) as saver:
        if found:
            saver.resume()
            for value in saver._objects["model"].parameters():
                value.data.fill_(step)
            for fields in saver._objects["optimizer"].state.values():
                fields["momentum_buffer"].fill_(step)
        saver.save(step)


def stopped(run, fault, background=False):
    def work():
        stopper = Stopper(fault)
        intercept(stopper)
        saved(run, 2, background)
        return stopper.names

    return in_child(work)


def values(run):
    """The step that a new process goes on from, and the values that it has then."""
    held = objects(-1.0)
    with Checkpointer(run, **held) as saver:
        resumed = saver.resume("required")
    assert resumed.rejected == {}
    found = {value.item() for tensor in held["model"].parameters() for value in tensor.flatten()}
    found |= {v.item() for fields in held["optimizer"].state.values() for v in fields["momentum_buffer"].flatten()}
    return resumed.step, found


def names(run):
    return sorted(name for name in os.listdir(run) if not name.endswith("lock"))


def check(run, fault, ending):
    step, found = values(run)
    assert step in (1, 2) and found == {float(step)}, "two checkpoints were mixed"
    if ending.well:
        assert step == 2
    elif not ending.killed:
        assert ending.exit_code == _CODES[fault.how], ending
        assert str(run) in ending.message and fault.how in ending.message and "\n" not in ending.message
    saved(run, 3)
    assert values(run) == (3, {3.0})
    assert names(run) == ["checkpoint-3"]


def some(faults):
    return faults[::_SAMPLE]


def few(faults):
    return faults[5 :: 4 * _SAMPLE]


def third(number):
    """Each a test of its own: all faults in the background take longer than a test may."""
    return lambda faults: faults[number::3]


@pytest.mark.parametrize(
    ("which", "background"),
    [
        (some, False),
        (few, True),
        pytest.param(list, False, marks=pytest.mark.long),
        *(pytest.param(third(number), True, marks=pytest.mark.long) for number in range(3)),
    ],
    ids=["some", "few in the background", "all", *(f"third {number} in the background" for number in (1, 2, 3))],
)
def test_a_save_stopped_anywhere_leaves_one_that_is_whole_and_the_next_succeeds(which, background, tmp_path):
    saved(tmp_path / "before", 1)
    shutil.copytree(tmp_path / "before", tmp_path / "undisturbed")
    ending = stopped(tmp_path / "undisturbed", None, background)
    assert ending.well, ending
    assert values(tmp_path / "undisturbed") == (2, {2.0})
    assert names(tmp_path / "undisturbed") == ["checkpoint-2"]
    for fault in which(faults_of(ending.value)):
        run = tmp_path / "run"
        shutil.copytree(tmp_path / "before", run)
        found = stopped(run, fault, background)
        try:
            check(run, fault, found)
        except BaseException as error:
            call = ending.value[fault.number - 1]
            error.add_note(f"{fault.how} at call {fault.number} of {len(ending.value)} ({call}): {found}")
            raise
        shutil.rmtree(run)


def lost_states(run):
    """Every state of a run's folder that a loss of power during the save of step 2 can leave."""
    disk = Disk(run)

    def work():
        recorder = Recorder()
        intercept(recorder)
        saved(run, 2)
        return [step._replace(data=step.data.hex()) for step in recorder.steps]

    ending = in_child(work)
    assert ending.well, ending
    seen = set()
    for number, step in enumerate(ending.value, 1):
        disk.do(Step(*step)._replace(data=bytes.fromhex(step[4])))
        for lost, state in disk.after_power_loss():
            key = frozenset(state.items())
            if key not in seen:
                seen.add(key)
                yield number, lost, state


@pytest.mark.parametrize("which", [some, pytest.param(list, marks=pytest.mark.long)], ids=["some", "all"])
def test_power_lost_anywhere_leaves_one_that_is_whole(which, tmp_path):
    saved(tmp_path / "run", 1)
    for number, lost, state in which(list(lost_states(tmp_path / "run"))):
        place = tmp_path / "lost"
        build(state, place)
        try:
            step, found = values(place)
            assert step in (1, 2) and found == {float(step)}
            saved(place, 3)
            assert values(place) == (3, {3.0})
        except BaseException as error:
            error.add_note(f"{lost} lost after call {number}: {sorted(state)}")
            raise
        shutil.rmtree(place)


def test_the_calls_include_those_that_remove_the_checkpoint_before(tmp_path):
    saved(tmp_path / "run", 1)
    calls = stopped(tmp_path / "run", None).value
    assert calls.count("unlink") > 5 and "rename" in calls and re.fullmatch(r"unlink|rmdir|rename", calls[-2])
