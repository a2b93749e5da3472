"""A sharded training under torchrun: stopped, gone on with by as many ranks and by others; what one rank meets."""

import json
from pathlib import Path

import numpy as np
import pytest

from ckpt_core.verbs.load import load
from ckpt_core.verbs.verify import verify
from tests.integration.test_torchrun import torchrun

CHILD = Path(__file__).with_name("training_child.py")
LEFT = 3
"""Steps after the resume."""


def found_by(folder, mode, ranks):
    done = torchrun(ranks, CHILD, folder, mode, environment={"CKPT_RANK_TIMEOUT": "60"})
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{mode}-{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which two ranks have trained, and what each found."""
    folder = tmp_path_factory.mktemp("training")
    return folder, found_by(folder, "first", 2)


def test_as_many_ranks_go_on_as_if_nothing_had_been(trained):
    for one in (found["same_world"] for found in trained[1]):
        assert one.pop("step") == 3
        assert one.pop("restored") == ["ema", "model", "optimizer", "rng", "sampler", "scheduler"]
        assert one == {"losses": True, "seen": True, "state": True}


def test_fsdps_options_change_how_a_state_is_held_and_not_what_is_gone_on_from(trained):
    for found in (one["optioned"] for one in trained[1]):
        assert "ignore_frozen_params=True would leave something out" in found.pop("refused")
        assert [one[:2] for one in found.values()] == [[True, True]] * 3
        (first, second), (whole, rest) = (found[name][2:] for name in ("cpu_offload", "full_state_dict"))
        assert whole > first and rest < second, "rank 0 writes all of it, and rank 1 its random state alone"


def test_of_twenty_saves_in_the_background_each_has_its_own_step(trained):
    folder, _ = trained
    for step in range(20):
        checkpoint = load(str(folder / "background" / f"checkpoint-{step}"))
        for label in ("model", "ema"):
            for name in checkpoint.component(label).tensors:
                assert set(np.frombuffer(checkpoint.read(label, name), "f4")) == {step}, (step, label, name)


def test_a_signal_at_one_rank_ends_all_behind_one_step_that_is_saved(trained):
    folder, found = trained
    (code, steps), other = (one["preempted"] for one in found)
    assert [code, steps] == other and code == 143
    assert verify(str(folder / "preempted" / f"checkpoint-{steps}"), depth="bytes").report.ok


def test_what_one_rank_fails_with_is_raised_by_all_and_the_next_save_is_done(trained):
    for rank, one in enumerate(found["failing"] for found in trained[1]):
        full, nan, step = one["said"]
        who = "" if rank == 1 else "rank 1: "
        assert full.startswith(f"BudgetError: {who}/") and "no space left on device" in full
        assert nan.startswith(f"CorruptError: {who}model, ") and "values are NaN" in nan
        assert step.startswith("UsageError: step: rank 0 has 2 and rank 1 3; give all ranks the same code")
        assert [name for name in one["left"] if name.startswith("checkpoint")] == ["checkpoint-1"]
        assert not [name for name in one["left"] if "stage" in name]
        assert "checkpoint-2" in one["then"]


def test_what_several_ranks_cannot_do_is_said_before_the_first_step(trained):
    for rank, (*forms, loader, is_there) in enumerate(found["refused"] for found in trained[1]):
        for name, form in zip(("bundle", "training-state", "hf"), forms, strict=True):
            assert form.startswith(f"format='{name}': is written by one process, and this training has 2; give")
            assert "give format='dcp'" in form and not is_there
        assert f"give it rank={rank} and world=2" in loader


@pytest.mark.parametrize("ranks", [3, pytest.param(1, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long)])
def test_another_number_of_ranks_has_the_same_numbers_and_samples(ranks, trained):
    folder, before = trained
    after = found_by(folder, "then", ranks)
    assert all(found["other_world"]["state"] == before[0]["saved"]["state"] for found in after)
    assert in_order([found["other_world"]["seen"] for found in after]) == in_order(
        [found["saved"]["seen"] for found in before]
    )
    assert "what a step draws (dropout) is not what it would have been" in after[0]["other_world"]["plan"]
    assert "world size" in after[0]["other_world"]["plan"]
    said = after[0]["other_world"]["said"]
    assert "restored ema, model, optimizer, scheduler, sampler\n" in said.replace("model, ema", "ema, model")
    assert "another part of the same batches" in said and "rng was 2 ranks" in said


def in_order(shares):
    """The samples of all ranks, in the order of the whole training."""
    each = [np.array_split(share, LEFT) for share in shares]
    return [sample for step in zip(*each, strict=True) for part in step for sample in part]
