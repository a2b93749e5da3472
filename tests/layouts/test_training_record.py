"""What is recorded of a training, read out of what real trainers and optimizers write."""

import os
import tempfile
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core
from ckpt_core.layouts.training_record import training_record


def _record(path):
    return training_record(ckpt_core.load(str(path)))


def _optimizer(*rates):
    layers = [torch.nn.Linear(2, 2) for _ in rates]
    groups = [{"params": layer.parameters(), "lr": rate} for layer, rate in zip(layers, rates, strict=True)]
    return torch.nn.ModuleList(layers).state_dict(), torch.optim.AdamW(groups)


def _saved(path, **more):
    model, optimizer = _optimizer(1e-3, 1e-4)
    torch.save({"model": model, "optimizer": optimizer.state_dict(), **more}, path)
    return _record(path)


def test_what_is_not_recorded_is_none_and_nothing(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    found = _record(tmp_path / "w.pth")
    assert (found.step, found.epoch, found.best, found.learning_rates, found.losses) == (None, None, (), (), ())
    assert found.versions == {}


def test_a_training_loop_of_ones_own(tmp_path):
    found = _saved(tmp_path / "a.pt", step=7, epoch=2, best_acc1=torch.tensor(76.5), loss=0.5, best_epoch=1)
    assert (found.step, found.epoch) == (7, 2)
    assert [(best.name, best.value) for best in found.best] == [("best_acc1", 76.5)]
    assert found.learning_rates == (1e-3, 1e-4)
    assert [(loss.name, loss.value) for loss in found.losses] == [("loss", 0.5)]


@pytest.mark.parametrize("losses", [[0.5, 0.4, 0.3, 0.2], (9.0, 0.4, 0.3, 0.2)])
def test_of_a_history_the_last_losses_count(tmp_path, losses):
    found = _saved(tmp_path / "a.pt", iter_num=3, val_losses=losses)
    assert [(loss.name, loss.value) for loss in found.losses] == [("val_losses", 0.4), ("val_losses", 0.3)] + [
        ("val_losses", 0.2)
    ]


def test_epochs_are_not_said_to_be_steps(tmp_path):
    found = _saved(tmp_path / "a.pt", epoch=12)
    assert (found.step, found.epoch) == (None, 12)


@pytest.mark.parametrize("value", [True, "high", float("nan"), None, [1.0], torch.ones(3)])
def test_what_is_no_number_is_no_metric(tmp_path, value):
    assert _saved(tmp_path / "a.pt", step=1, best_acc=value, loss=value if value != [1.0] else None).best == ()


def test_hostile_state_is_no_number_and_takes_no_time(tmp_path):
    shared = {"deep": {"deeper": {"deepest": 1}}}
    for _ in range(3):
        shared = {f"key{number}": shared for number in range(20)}
    found = _saved(tmp_path / "a.pt", step=1, best_acc=10**400, loss=-(10**400), more=shared, epoch=2)
    assert (found.step, found.best, found.losses, found.epoch) == (1, (), (), 2)


def test_a_version_that_torch_gives_is_read_without_its_class(tmp_path):
    found = _saved(tmp_path / "a.pt", step=1, torch_version=torch.__version__, format_version=3, version="1.0")
    assert found.versions == {"torch": str(torch.__version__)}


def test_a_scheduler_says_the_rate_where_no_optimizer_does(tmp_path):
    model, optimizer = _optimizer(2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    scheduler.step()
    torch.save({"model": model, "scheduler": scheduler.state_dict(), "step": 1}, tmp_path / "a.pt")
    assert _record(tmp_path / "a.pt").learning_rates == pytest.approx((2e-4,))


def test_the_trainers_state_as_transformers_writes_it(tmp_path):
    from transformers import TrainerState

    log = [{"loss": 4.0 - step / 10, "learning_rate": 1e-5, "step": step, "epoch": step / 8} for step in range(1, 7)]
    log.insert(3, {"eval_loss": 3.5, "step": 3, "epoch": 0.375})
    state = TrainerState(epoch=0.75, global_step=6, log_history=log, best_metric=3.5, best_model_checkpoint="runs/a")
    folder = tmp_path / "checkpoint-6"
    folder.mkdir()
    state.save_to_json(str(folder / "trainer_state.json"))
    model, optimizer = _optimizer(5e-5)
    torch.save(model, folder / "pytorch_model.bin")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    found = _record(folder)
    assert (found.step, found.epoch, found.learning_rates) == (6, 0.75, (5e-5,))
    assert [(best.name, best.value, best.where) for best in found.best] == [("best_metric", 3.5, "runs/a")]
    assert [(loss.name, loss.step) for loss in found.losses] == [
        ("loss", 4),
        ("loss", 5),
        ("loss", 6),
        ("eval_loss", 3),
    ]
    assert found.losses[-2].value == log[-1]["loss"]


def test_lightnings_callback_as_lightning_writes_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning.pytorch.callbacks import ModelCheckpoint
    callback = ModelCheckpoint(str(tmp_path), monitor="val_loss")
    callback.best_model_score, callback.best_model_path = torch.tensor(0.625), os.fspath(tmp_path / "best.ckpt")
    model, optimizer = _optimizer(2e-3)
    content = {
        "epoch": 1,
        "global_step": 4,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": model,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {callback.state_key: callback.state_dict()},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
    }
    torch.save(content, tmp_path / "last.ckpt")
    found = _record(tmp_path / "last.ckpt")
    assert (found.step, found.epoch, found.learning_rates) == (4, 1, (2e-3,))
    assert [(best.name, best.value, best.where) for best in found.best] == [
        ("val_loss", 0.625, str(tmp_path / "best.ckpt"))
    ]
    assert found.versions == {"pytorch-lightning": "2.6.6"}


_KEYS = st.sampled_from(
    ["epoch", "best_metric", "log_history", "param_groups", "lr", "loss", "step", "torch_version", 0]
)
_STATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80)
@given(states=st.fixed_dictionaries(dict.fromkeys(("progress", "optimizer", "scheduler", "scaler"), _STATES)))
def test_no_state_of_any_form_is_too_odd_to_look_for_a_record_in(states):
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"model": {"w": torch.ones(2)}, **states}, os.path.join(folder, "x.pt"))
        _record(os.path.join(folder, "x.pt")).as_dict()
