"""The law of the step: a training goes on from a number of steps, from nothing else, and never without one."""

import pytest
import torch

import ckpt_core
from ckpt_core import Profile

WEIGHTS = {"w": torch.ones(2)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def verdict(tmp_path, progress, profile=Profile.RESUME):
    torch.save({"model": WEIGHTS, "optimizer": OPTIMIZER, **progress}, tmp_path / "a.pt")
    report = ckpt_core.verify(str(tmp_path / "a.pt"), profile=profile).report
    return [f.code for f in report.findings if f.severity == 2], report.assessment.summary


@pytest.mark.parametrize("progress", [{"epoch": 0}, {"step": 3}, {"iteration": torch.tensor(4)}, {"meta": {"iter": 5}}])
def test_the_commonest_checkpoint_is_whole_with_any_counter(tmp_path, progress):
    assert verdict(tmp_path, {**progress, "loss": 0.5}) == ([], "COMPLETE for resume; finite: not checked")


@pytest.mark.parametrize(
    "progress", [{"loss": 0.5}, {"best_acc": torch.tensor(0.5), "arch": "vit"}, {"epoch": None}, {}]
)
def test_without_a_step_there_is_no_progress(tmp_path, progress):
    codes, summary = verdict(tmp_path, progress)
    assert codes == [] and summary.startswith("PARTIAL for resume: progress absent")


def test_a_training_that_has_ended_is_not_gone_on_from(tmp_path):
    assert "epoch counts nothing" in verdict(tmp_path, {"epoch": -1, "best_fitness": 0.5})[1]


@pytest.mark.parametrize("wrong", ["100", "final", True, 1.5, float("nan")])
@pytest.mark.parametrize("key", ["step", "epoch", "iter_num"])
def test_a_step_of_another_type_is_an_error_for_a_resume_alone(tmp_path, key, wrong):
    codes, summary = verdict(tmp_path, {key: wrong})
    assert codes == ["RS006"] and summary.startswith("CORRUPT for resume: progress unreadable")
    assert verdict(tmp_path, {key: wrong}, Profile.INFERENCE) == ([], "COMPLETE for inference; finite: not checked")
