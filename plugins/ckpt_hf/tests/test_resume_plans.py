"""Plans of runs that transformers' Trainer and Lightning wrote: what they record, held against the next run."""

import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_core.training import Effect, plan_resume

REFUSED = Effect.REFUSED


@pytest.fixture(scope="session")
def step(made):
    """A step of the Trainer's: 4 of 6, half of its one epoch."""
    return made("trainer_runs.py") / "full" / "checkpoint-4"


CASES = {
    "the same": ({"max_steps": 6, "learning_rate": 5e-5, "seed": 3}, "steps", Effect.RESTORED, "2 remain"),
    "no argument": ({}, "steps", Effect.RESTORED, "2 remain of the 6"),
    "fewer steps": ({"max_steps": 3}, "steps", REFUSED, "step 4 ≥ 3, the last one: nothing would run"),
    "half of the epochs": ({"num_train_epochs": 0.5}, "steps", REFUSED, "nothing would run"),
    "more epochs": ({"num_train_epochs": 2}, "steps", Effect.RESTORED, "12 remain"),
    "batch": ({"per_device_train_batch_size": 2}, "data: batch_size", Effect.OVERRIDDEN, "skipped, not samples"),
    "seed": ({"seed": 4}, "data: seed", Effect.OVERRIDDEN, "the order of the data is another"),
    "rate": ({"learning_rate": 1e-3}, "optimizer: learning rate", REFUSED, "say which counts"),
    "layers": ({"num_hidden_layers": 4}, "model: num_hidden_layers", REFUSED, "another architecture"),
    "hidden": ({"hidden_size": 32}, "model: hidden_size", REFUSED, "another architecture"),
    "dropout": ({"attention_dropout": 0.5}, "model: attention_dropout", Effect.OVERRIDDEN, "computes otherwise"),
    "decay": ({"weight_decay": 0.1}, "argument weight_decay", Effect.OVERRIDDEN, ""),
    "another name": ({"nonsense": 1}, "argument nonsense", Effect.MISSING, "not saved"),
}


@pytest.mark.parametrize("what", CASES)
def test_a_step_of_the_trainer_is_held_against_the_next_arguments(step, what):
    arguments, row, effect, note = CASES[what]
    found = plan_resume(step, arguments).row(row)
    assert found.effect is effect and note in found.note


def test_a_whole_run_is_planned_from_its_newest_step_and_a_run_that_is_over_is_refused(step):
    plan = plan_resume(step.parent)
    assert (plan.step, [row.what for row in plan.refused]) == (6, ["steps"])
    assert plan_resume(step.parent, {"max_steps": 8}).refused == ()


def test_a_newer_step_that_is_not_complete_is_passed_over_and_said(step, copy_of):
    run = copy_of(step.parent)
    (run / "checkpoint-6" / "optimizer.pt").unlink()
    plan = plan_resume(run)
    assert plan.step == 4 and "optimizer absent" in plan.rejected["checkpoint-6"]
    assert "passed over checkpoint-6: PARTIAL for resume" in plan.table()


def test_the_rate_of_the_trainer_is_the_checkpoints_whatever_is_said(step):
    assert plan_resume(step, {"learning_rate": 1e-3}, lr="checkpoint").refused == ()
    [row] = plan_resume(step, {"learning_rate": 1e-3}, lr="argument").refused
    assert "takes the checkpoint's rate, 5e-05" in row.note


PATIENCE = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from trainer_runs import Samples, model
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments
arguments = TrainingArguments(sys.argv[1], max_steps=2, save_steps=2, eval_steps=1, eval_strategy="steps",
    per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True, load_best_model_at_end=True,
    metric_for_best_model="eval_loss", learning_rate=0.0)
Trainer(model(), arguments, train_dataset=Samples(), eval_dataset=Samples(),
    callbacks=[EarlyStoppingCallback(5)]).train()
"""


@pytest.mark.long
def test_the_patience_of_early_stopping_is_shown_for_what_the_trainer_does_with_it(tmp_path):
    makers = Path(__file__).parent / "makers"
    subprocess.run([sys.executable, "-c", PATIENCE, tmp_path / "run", makers], check=True)
    row = plan_resume(tmp_path / "run", {"max_steps": 4}).row("callback EarlyStoppingCallback")
    assert row.effect is Effect.UNUSED and row.saved == "early_stopping_patience_counter 1"


def test_a_run_of_lightning_says_what_it_lacks(made):
    plan = plan_resume(made("lightning_runs.py") / "full" / "last.ckpt", {"max_steps": 12, "lr": 0.01, "width": 16})
    assert plan.row("rng").effect is Effect.MISSING and plan.row("sampler").effect is Effect.MISSING
    assert plan.row("steps").effect is REFUSED and plan.row("model: width").effect is REFUSED
    assert plan.row("optimizer: learning rate").effect is Effect.RESTORED
