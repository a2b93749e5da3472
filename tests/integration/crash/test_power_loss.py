"""Power lost after each call of a save or conversion: whatever was not synced may be gone, and it is old or new."""

import os
import shutil

import pytest

from tests.integration.crash.disk import Disk, Recorder, Step, build
from tests.integration.crash.os_calls import in_child, intercept
from tests.integration.crash.scenarios import SCENARIOS, digest_at, members
from tests.integration.crash.test_stopped_writes import Undisturbed, check_next_run, fresh_copy

_SAMPLE = 11


class Recorded(Undisturbed):
    """An undisturbed run, every call of it noted with its bytes."""

    def __init__(self, scenario, folder):
        super().__init__(scenario, folder)
        self.place = fresh_copy(self.before, folder / "recorded")
        self.disk = Disk(self.place[1])

        def work():
            recorder = Recorder()
            intercept(recorder)
            scenario.run(*self.place)
            return [step._replace(data=step.data.hex()) for step in recorder.steps]

        ending = in_child(work)
        assert ending.well, ending
        self.steps = [Step(*step)._replace(data=bytes.fromhex(step[4])) for step in ending.value]

    def states(self):
        """Every state that power loss can leave, each once: after how many steps, what was lost, the files."""
        seen = set()
        for number, step in enumerate(self.steps, 1):
            self.disk.do(step)
            for lost, state in self.disk.after_power_loss():
                key = frozenset(state.items())
                if key not in seen:
                    seen.add(key)
                    yield number, lost, state


def check_state(known, state, folder):
    sources, out = known.before[0], folder / "out"
    build(state, out)
    found = digest_at(out / known.scenario.place)
    assert found in (known.old, known.new)
    assert members(out) <= {known.scenario.place}
    check_next_run(known, (sources, out))
    shutil.rmtree(folder)


def some(states):
    return list(states)[::_SAMPLE]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.title)
@pytest.mark.parametrize("which", [some, pytest.param(list, marks=pytest.mark.long)], ids=["some", "all"])
def test_power_lost_anywhere_leaves_the_old_or_the_new(scenario, which, tmp_path):
    known = Recorded(scenario, tmp_path / "known")
    for number, lost, state in which(known.states()):
        try:
            check_state(known, state, tmp_path / "lost")
        except BaseException as error:
            error.add_note(f"{scenario.title}: {lost} lost after {known.steps[:number][-3:]}, {sorted(state)}")
            raise


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.title)
def test_what_a_run_said_it_wrote_outlasts_power_loss(scenario, tmp_path):
    known = Recorded(scenario, tmp_path / "known")
    for step in known.steps:
        known.disk.do(step)
    for number, (_, state) in enumerate(known.disk.after_power_loss()):
        out = tmp_path / f"lost{number}"
        build(state, out)
        assert digest_at(out / scenario.place) == known.new
        assert scenario.names <= set(os.listdir(out))
