"""Foreign writers killed at every call that changes a file: the newest whole checkpoint is found, and no other.

What is whole is told by bytes: a checkpoint that is, file by file, what an undisturbed save left. Nothing of ours takes
part in writing.
"""

import json
import os

import pytest

import ckpt_core
from ckpt_core import Profile
from ckpt_core.errors import CkptError
from tests.integration.resume.system_calls import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

STEP = {"before": 1, "whole": 2}
EVERY = 11
"""Every so many points one is taken in the usual run; prime, so that each kind of call has its turn."""

SOME_AND_ALL = pytest.mark.parametrize("every", [EVERY, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
WRITERS = ("dcp_save", "lightning", "lightning_across", "torch_save", "torch_save_over", "trainer")


UNLIKE = "rng_state.pth"
"""What two forks of a Trainer write differently, and no one needs to resume."""


def contents(place):
    """Files below a place by path, with what is in them; the place itself where it is a file."""
    if place.is_file():
        return {"": place.read_bytes()}
    found = [path for path in place.rglob("*") if path.is_file() and path.name != UNLIKE]
    return {str(path.relative_to(place)): path.read_bytes() for path in found}


def whole_ones(run, out):
    """The names in a run that are what one of the undisturbed saves left, with the step that it was of."""
    found = {}
    for source, step in STEP.items():
        for place in sorted((out / source).iterdir()):
            if (run / place.name).exists() and contents(run / place.name) == contents(place):
                # What an undisturbed save left as it was is of the step before.
                found.setdefault(place.name, step)
    return found


def verdict(place):
    """COMPLETE, PARTIAL, CORRUPT, or why it could not be looked at."""
    try:
        return ckpt_core.verify(str(place), profile=Profile.RESUME).report.assessment.verdict.value
    except CkptError as error:
        return type(error).__name__


def check(run, out):
    whole = whole_ones(run, out)
    newest = max(whole.values())
    found = ckpt_core.locate(str(run), profile="resume")
    chosen = os.path.relpath(found.require().url, run)
    assert whole.get(chosen) == newest, f"{chosen} was taken, whole are {whole}"
    for attempt in found.attempts:
        assert attempt.outcome.value != "rejected" or attempt.detail
    for place in run.iterdir():
        if place.name not in whole and not removed_in_part(place, out):
            assert verdict(place) != "COMPLETE", place.name


def removed_in_part(place, out):
    """A checkpoint that the writer was removing: what is left of it is as it was, and may be enough to resume."""
    former = out / "before" / place.name
    return former.exists() and contents(place).items() <= contents(former).items()


@pytest.mark.parametrize("writer", WRITERS)
@SOME_AND_ALL
def test_the_newest_whole_checkpoint_is_found_wherever_the_writer_was_killed(script, tmp_path, writer, every):
    out = tmp_path / writer
    script("killed_saves.py", writer, out, every)
    assert max(whole_ones(out / "whole", out).values()) == 2
    told = json.loads((out / "calls.json").read_text())
    points = sorted((out / "points").iterdir())
    assert len(points) == -(-told["points"] // every)
    check(out / "before", out)
    check(out / "whole", out)
    for point in points:
        name, path = told["calls"][int(point.name[:4]) - 1]
        try:
            check(point, out)
        except BaseException as error:
            error.add_note(f"{writer}: killed at call {point.name} of {len(told['calls'])}: {name} of {path}")
            raise
