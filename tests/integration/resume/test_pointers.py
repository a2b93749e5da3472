"""Runs whose pointer is missing, late or wrong, and runs that lost a rank's file: what is there decides."""

import os
import shutil
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core.errors import IncompleteError

POINTER = "latest_checkpointed_iteration.txt"


@pytest.fixture(scope="module")
def _verl(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("verl") / "run"
    script("verl_run.py", out, 10, 20, 30)
    return out


@pytest.fixture
def verl(_verl, tmp_path):
    """verl's steps 10, 20 and 30 of two ranks, with no pointer: what its asynchronous save leaves."""
    return Path(shutil.copytree(_verl, tmp_path / "run"))


def located(run, profile="resume"):
    found = ckpt_core.locate(str(run), profile=profile)
    return os.path.relpath(found.require().url, run), found


def rejected(found):
    return {Path(a.candidate.url).parent.name: a.detail for a in found.attempts if a.outcome.value == "rejected"}


def test_a_run_of_verl_without_its_pointer_goes_on_from_its_last_step(verl):
    chosen, found = located(verl)
    assert (chosen, found.notes) == ("global_step_30/actor", ())


@pytest.mark.parametrize("named", ["10", "20\n"])
def test_a_pointer_that_stayed_behind_is_not_followed_and_that_is_said(verl, named):
    (verl / POINTER).write_text(named)
    chosen, found = located(verl)
    assert chosen == "global_step_30/actor"
    assert found.notes == (f"{POINTER} names {named.strip()}; the newest complete checkpoint is global_step_30/actor",)


def test_a_pointer_that_is_right_is_no_news(verl):
    (verl / POINTER).write_text("30")
    assert located(verl)[1].notes == ()


@pytest.mark.parametrize("name", ["model_world_size_2_rank_1.pt", "optim_world_size_2_rank_0.pt"])
def test_a_step_that_lost_a_ranks_file_is_passed_over_though_the_pointer_names_it(verl, name):
    (verl / POINTER).write_text("30")
    (verl / "global_step_30" / "actor" / name).unlink()
    chosen, found = located(verl)
    assert chosen == "global_step_20/actor"
    assert "CORRUPT for resume" in rejected(found)["global_step_30"]
    assert len(found.notes) == 1 and found.notes[0].startswith(f"{POINTER} names 30;")


def test_verl_goes_on_from_the_step_that_the_directory_is_named_after(verl):
    report = ckpt_core.verify(str(verl / "global_step_20" / "actor"), profile=ckpt_core.Profile.RESUME).report
    lines = {line.role.label: line.role for line in report.assessment.lines}
    assert lines["progress"].presence.value == "derived" and "step 20" in lines["progress"].note
    assert report.assessment.verdict.value == "COMPLETE"


@pytest.fixture(scope="module")
def _trainer(script, tmp_path_factory):
    """A run of transformers' Trainer with the checkpoints of two steps, as two processes leave them."""
    out = tmp_path_factory.mktemp("trainer")
    script("killed_saves.py", "trainer", out / "saves", 1000)
    run = out / "run"
    for step, source in (("checkpoint-1", "before"), ("checkpoint-2", "whole")):
        shutil.copytree(out / "saves" / source / step, run / step)
        state = run / step / "rng_state.pth"
        shutil.copy(state, run / step / "rng_state_0.pth")
        state.rename(run / step / "rng_state_1.pth")
    return run


def test_a_step_that_lost_the_random_state_of_a_rank_is_passed_over_for_an_exact_resume_only(_trainer, tmp_path):
    run = Path(shutil.copytree(_trainer, tmp_path / "run"))
    assert located(run, "exact-resume")[0] == "checkpoint-2"
    (run / "checkpoint-2" / "rng_state_1.pth").unlink()
    chosen, found = located(run, "exact-resume")
    assert chosen == "checkpoint-1"
    [detail] = [a.detail for a in found.attempts if a.outcome.value == "rejected"]
    assert "PARTIAL for exact-resume: rng:1 absent (rng_state_1.pth)" in detail
    assert located(run)[0] == "checkpoint-2"


def test_where_every_step_lost_it_none_is_taken(_trainer, tmp_path):
    run = Path(shutil.copytree(_trainer, tmp_path / "run"))
    for step in ("checkpoint-1", "checkpoint-2"):
        (run / step / "rng_state_1.pth").unlink()
    with pytest.raises(IncompleteError, match="rng:1 absent"):
        located(run, "exact-resume")
