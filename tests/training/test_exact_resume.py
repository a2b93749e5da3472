"""A training that was stopped and went on is the one that never was: losses, weights, moments, generators, steps."""

from functools import cache

import pytest
import torch

from ckpt_core.training import random_states
from tests.training.small_training import (
    AUGMENT,
    STEPS_AN_EPOCH,
    checkpointer,
    differing,
    seeded,
    training,
)

END = 3 * STEPS_AN_EPOCH
STOPS = {"middle of epoch 1": 2, "its end": STEPS_AN_EPOCH, "epoch 2": STEPS_AN_EPOCH + 2}
WORKERS = {"0": {}, "2": {"num_workers": 2}, "persistent": {"num_workers": 2, "persistent_workers": True}}

CELLS = [
    (before, after, augment, stop)
    for before, after in [
        ("0", "0"),
        ("2", "2"),
        ("persistent", "persistent"),
        ("0", "2"),
        ("2", "0"),
        ("persistent", "0"),
    ]
    for augment in AUGMENT
    for stop in STOPS
]
PAIRWISE = [cell for number, cell in enumerate(CELLS) if number % 6 == number // 12 % 6 or cell[:2] == ("0", "0")]


@cache
def uninterrupted(augment):
    made = training(augment).run(END)
    return made.losses, made.state()


def stopped_and_resumed(run, stop, augment="none", before=None, after=None):
    """The losses of both parts, and the state at the end; the second part begins in a process of another past."""
    first = training(augment, **(before or {}))
    with checkpointer(run, first, save_every=1) as saver:
        first.run(stop, saver)
    second = training(augment, seed=99, **(after or {}))
    torch.rand(7)
    with checkpointer(run, second) as saver:
        second.step = saver.resume().step
        assert second.step == stop
        seen = len(first.losses)
        second.run(END, saver)
    return first.losses[:seen] + second.losses, second.state()


def exact(cell, run):
    before, after, augment, stop = cell
    losses, state = stopped_and_resumed(run, STOPS[stop], augment, WORKERS[before], WORKERS[after])
    assert losses == uninterrupted(augment)[0]
    assert differing(state, uninterrupted(augment)[1]) == []


@pytest.mark.parametrize("cell", PAIRWISE, ids="-".join)
def test_a_training_that_was_stopped_goes_on_bit_for_bit(cell, tmp_path):
    exact(cell, tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in PAIRWISE], ids="-".join)
def test_a_training_that_was_stopped_goes_on_bit_for_bit_in_every_cell(cell, tmp_path):
    exact(cell, tmp_path / "run")


def test_a_training_may_stop_many_times(tmp_path):
    losses, seed = [], 0
    for stop in range(1, END + 1):
        made = training("torch", seed=seed)
        with checkpointer(tmp_path / "run", made, save_every=1, keep=1) as saver:
            made.step = saver.resume().step
            made.run(stop, saver)
        losses, seed = losses + made.losses, seed + 1
    assert losses == uninterrupted("torch")[0]
    assert differing(made.state(), uninterrupted("torch")[1]) == []


def test_a_training_may_stop_while_gradients_are_added_up(tmp_path):
    first = training("numpy")
    first.run(1)
    batches = iter(first.loader)
    loss = first.model(next(batches)).square().mean() / 2
    loss.backward()
    first.losses.append(loss.item())
    assert not first.loader.steps
    with checkpointer(tmp_path / "run", first) as saver:
        saver.save(first.step)
    second = training("numpy", seed=99)
    with checkpointer(tmp_path / "run", second) as saver:
        second.step = saver.resume().step
        second.run(END)
    assert first.losses + second.losses == uninterrupted("numpy")[0]
    assert differing(second.state(), uninterrupted("numpy")[1]) == []


FORGOTTEN = ["rng", "sampler", "optimizer", "scheduler", "ema"]


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_is_not_restored_is_seen_by_these_tests(what, tmp_path, monkeypatch):
    """Each of these is needed: a resume that forgets one does not come to the same."""
    first = training("torch")
    with checkpointer(tmp_path / "run", first, save_every=1) as saver:
        first.run(2, saver)
    second = training("torch", seed=99)
    names = {"sampler": "loader"}
    given = {**second.objects(), names.get(what, what): None} if what != "rng" else second.objects()
    if what == "rng":
        monkeypatch.setattr(random_states, "restoring", lambda state: lambda: None)
    from ckpt_core.training import Checkpointer

    seeded(99)
    with Checkpointer(tmp_path / "run", **given) as saver:
        resumed = saver.resume(lr="checkpoint")
    if what != "rng":
        assert what in resumed.unused
    second.step = resumed.step
    second.run(END)
    losses = first.losses + second.losses
    assert (losses != uninterrupted("torch")[0]) or differing(second.state(), uninterrupted("torch")[1]) != []
