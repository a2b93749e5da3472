"""Save, replace and convert at a store, disturbed at every request: old or new, never a mix; the next run succeeds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core.errors import CkptError
from ckpt_core.storage.objects.open_store import open_store
from tests.integration.crash.store_scenarios import SCENARIOS, Scenario, state_of
from tests.servers import faults

ROOT = Path(__file__).resolve().parents[3]

HOW = ("killed before", "killed after", "answer lost", "500", "412")

_SAMPLE = 89
"""Every so many disturbances one is taken in the usual run; prime, so that each kind comes at all sorts of requests."""


class Nursery:
    """What forks processes that can be killed; see `store_scenarios`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.integration.crash.store_scenarios"]
        self._nurse = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.child = 0

    def run(self, scenario: Scenario, folder: str, env: dict[str, str]) -> int:
        """How a process of its own ended that did the work: negative where it was killed."""
        self._nurse.stdin.write(json.dumps({"title": scenario.title, "folder": folder, "env": env}) + "\n")
        self._nurse.stdin.flush()
        self.child = int(self._nurse.stdout.readline())
        return int(self._nurse.stdout.readline())

    def end(self) -> None:
        self._nurse.stdin.close()
        self._nurse.wait(30)
        self._nurse.stdout.close()


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.end()


def keys(folder):
    """What lies in a folder, the numbers of a run left out."""
    store, root = open_store(folder)
    found = [one.key.removeprefix(f"{root}/") for one in store.find(f"{root}/")]
    return sorted(re.sub(r"(generation|stage)-[0-9a-f]+", r"\1-N", key) for key in found)


def uploads(folder):
    store, root = open_store(folder)
    return list(store.uploads(f"{root}/"))


class Undisturbed:
    """A run without a fault: its requests, what it leaves, and what was there before and after."""

    def __init__(self, scenario, place):
        self.scenario = scenario
        folder = f"{place.url}/undisturbed"
        scenario.lay_out(folder)
        self.old = state_of(f"{folder}/{scenario.name}")
        place.proxy.clear()
        scenario.run(folder)
        self.requests = len(place.proxy.log)
        place.proxy.clear()
        self.new = state_of(f"{folder}/{scenario.name}")
        self.keys = keys(folder)
        assert self.new not in (None, self.old) and not uploads(folder)
        assert not [key for key in self.keys if ".ckpt-" in key and "generation" not in key]

    def disturbances(self):
        return [(number, how) for number in range(1, self.requests + 1) for how in HOW]


def disturb(known, place, nursery, number, how):
    """One request of a run is disturbed; then all that must hold."""
    scenario, folder = known.scenario, f"{place.url}/{number}-{HOW.index(how)}"
    scenario.lay_out(folder)
    place.proxy.clear()
    fault = {
        "killed before": faults.kill(lambda: nursery.child),
        "killed after": faults.kill(lambda: nursery.child, done=True),
        "answer lost": faults.lost_answer,
        "500": faults.status(500, "InternalError"),
        "412": faults.status(412, "PreconditionFailed"),
    }[how]
    place.proxy.rule(fault, first=number)
    ending = nursery.run(scenario, folder, place.env) if how.startswith("killed") else _run(scenario, folder)
    place.proxy.clear()
    found = state_of(f"{folder}/{scenario.name}")
    assert found in (known.old, known.new)
    if how in ("answer lost", "500"):
        assert ending == 0, "one such answer is nothing to fail of"
    if ending == 0:
        assert found == known.new and not uploads(folder), (number, how)
        left = [key for key in keys(folder) if key not in known.keys]
        assert not left or how == "412", (number, how, left)  # where what is over cannot be removed, it is said so
    elif ending > 0:
        assert ending in (5, 9)
    if how.startswith("killed") and number % 2:
        check_cleaning(known, folder, found)
    check_next_run(known, folder, found)


def _run(scenario, folder):
    try:
        scenario.run(folder)
    except CkptError as error:
        assert "\n" not in error.message and error.message.startswith("s3://"), error.message
        return error.exit_code
    return 0


def check_cleaning(known, folder, found):
    """What is left is listed, and removed where that is asked for; what is there for readers stays."""
    ckpt_core.clean(folder, apply=True)
    assert state_of(f"{folder}/{known.scenario.name}") == found
    left = [key for key in keys(folder) if ".ckpt-" in key.replace(".ckpt-generation-N/", "")]
    assert not left and not uploads(folder)


def check_next_run(known, folder, found):
    """It succeeds, or says that what is there is there; and leaves no more than an undisturbed one."""
    ending = _run(known.scenario, folder)
    assert state_of(f"{folder}/{known.scenario.name}") == known.new
    assert not uploads(folder), uploads(folder)
    if ending == 9:
        assert found == known.new and not known.scenario.force
    else:
        assert ending == 0, ending
    left = [key for key in keys(folder) if key not in known.keys]
    assert all(".ckpt-" in key for key in left), left
    if found != known.new:
        assert not left, left


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.title for one in SCENARIOS])
def test_a_run_that_is_disturbed_leaves_old_or_new(scenario, faulty_s3, nursery):
    known = Undisturbed(scenario, faulty_s3)
    for number, how in known.disturbances()[SCENARIOS.index(scenario) * 7 :: _SAMPLE]:
        disturb(known, faulty_s3, nursery, number, how)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.title for one in SCENARIOS])
def test_a_run_that_is_disturbed_anywhere_leaves_old_or_new(scenario, faulty_s3, nursery):
    known = Undisturbed(scenario, faulty_s3)
    for number, how in known.disturbances():
        disturb(known, faulty_s3, nursery, number, how)
