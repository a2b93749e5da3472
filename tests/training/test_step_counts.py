"""TS003: the optimizer's own count of steps and that of the training go together, or it is said, once."""

import logging
from types import SimpleNamespace

import pytest
import torch

from ckpt_core.training import Checkpointer
from ckpt_core.training.saving.step_counts import counted
from tests.training.small_training import checkpointer, training


def stepped(optimizer, model, times=1):
    for _ in range(times):
        model(torch.ones(2)).sum().backward()
        optimizer.step()


KINDS = {
    "AdamW": torch.optim.AdamW,
    "RMSprop": torch.optim.RMSprop,
    "Adagrad, which counts before its first step": torch.optim.Adagrad,
    "SGD, which counts none": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [1, 2])
def test_two_steps_for_one_are_said_once_and_one_for_one_never(kind, times, tmp_path, caplog):
    model = torch.nn.Linear(2, 2)
    optimizer = KINDS[kind](model.parameters())
    with caplog.at_level(logging.WARNING), Checkpointer(tmp_path / "run", model=model, optimizer=optimizer) as saver:
        for step in range(1, 4):
            stepped(optimizer, model, times)
            saver.save(step)
    expected = 1 if times == 2 and "SGD" not in kind else 0
    assert caplog.text.count("TS003") == expected


def test_an_optimizer_that_is_not_the_one_that_steps_is_found_out(tmp_path, caplog):
    model = torch.nn.Linear(2, 2)
    first, other = torch.optim.AdamW(model.parameters()), torch.optim.AdamW(model.parameters())
    with caplog.at_level(logging.WARNING), Checkpointer(tmp_path / "run", model=model, optimizer=first) as saver:
        stepped(first, model)
        saver.save(1)
        stepped(other, model, 2)
        saver.save(3)
    assert "TS003 step 3: the optimizer has done 0 steps since step 1, and the training counts 2" in caplog.text


@pytest.mark.parametrize(("steps", "said"), [(3, False), (1, False), (0, True), (5, True)])
def test_a_scaler_may_leave_out_some_steps_and_not_all(steps, said, tmp_path, caplog):
    model = torch.nn.Linear(2, 2)
    optimizer, scaler = torch.optim.AdamW(model.parameters()), torch.amp.GradScaler("cpu")
    objects = {"model": model, "optimizer": optimizer, "scaler": scaler}
    with caplog.at_level(logging.WARNING), Checkpointer(tmp_path / "run", **objects) as saver:
        stepped(optimizer, model)
        saver.save(1)
        stepped(optimizer, model, steps)
        saver.save(4)
    assert ("TS003" in caplog.text) is said


def test_a_training_that_goes_on_counts_from_there_and_raises_no_alarm(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        made = training()
        with checkpointer(tmp_path / "run", made, save_every=1) as saver:
            made.run(3, saver)
        again = training(seed=4)
        with checkpointer(tmp_path / "run", again, save_every=1) as saver:
            again.step = saver.resume().step
            again.run(5, saver)
        tuned = training()
        tuned.run(2)
        with checkpointer(tmp_path / "tuned", tuned) as saver:  # an optimizer that has stepped before, counted anew
            saver.save(0)
            tuned.run(3)
            saver.save(1)
    assert "TS003" not in caplog.text


def test_a_count_on_a_device_is_not_waited_for():
    odd = SimpleNamespace(state={1: {"step": torch.tensor(3.0, device="meta")}, 2: {"step": "three"}, 3: []})
    assert counted(odd) is None and counted(None) is None
