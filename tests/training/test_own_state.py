"""State that no state_dict has: attributes of a model, the patience of early stopping, the metrics of every step."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ckpt_core.errors import LoadRefusedError, PluginError, UsageError
from ckpt_core.training import Checkpointer, EarlyStopping, ExtraState, state_dict
from ckpt_core.training.own_state.history import History
from tests.training.small_training import checkpointer, same, training


class Router(nn.Module):
    def __init__(self, experts):
        super().__init__()
        self.gate = nn.Linear(4, 2)
        self.maturity = torch.zeros(experts)
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.name = "router"
        self.objects = {object()}


class Experts(nn.Module):
    """A mixture: the gate has the same shape for any number of experts."""

    def __init__(self, experts=2):
        super().__init__()
        self.router = Router(experts)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(experts))
        self.skills = {}


ATTRIBUTES = {"router": ["maturity", "scratch"], "": ["skills"]}


def saved(place, model, **how):
    with Checkpointer(place, model=model, **how) as saver:
        saver.save(1)


def test_attributes_come_back_under_their_names(tmp_path):
    first, second = Experts(), Experts()
    first.router.maturity += torch.tensor([0.25, 0.5])
    first.router.scratch += 1
    first.skills = {"add": torch.ones(3), 7: ("a", [1.5, None]), "array": np.arange(3)}
    saved(tmp_path / "run", nn.DataParallel(first), extra=ATTRIBUTES)
    held, expected = second.router.maturity, first.skills
    with Checkpointer(tmp_path / "run", model=second, extra=ATTRIBUTES) as saver:
        resumed = saver.resume()
    assert "progress:extra" in resumed.restored
    assert second.router.maturity is held, "it is filled in place"
    assert held.equal(torch.tensor([0.25, 0.5])) and second.router.scratch.equal(torch.ones(2))
    assert second.skills.keys() == expected.keys() and second.skills[7] == expected[7]
    assert second.skills["add"].equal(expected["add"]) and np.array_equal(second.skills["array"], expected["array"])


def test_four_experts_in_place_of_two_are_refused_before_any_step(tmp_path):
    saved(tmp_path / "run", Experts(2), extra=ATTRIBUTES)
    four = Experts(4)
    before = {name: tensor.clone() for name, tensor in four.state_dict().items()}
    with Checkpointer(tmp_path / "run", model=four, extra=ATTRIBUTES) as saver:
        assert {row.what for row in saver.plan().refused} == {"model", "progress:extra"}
        with pytest.raises(LoadRefusedError, match=r"another architecture: experts\.2\.weight is not in it") as caught:
            saver.resume()
    assert "\n" not in str(caught.value)
    assert same(dict(four.state_dict()), before)


REFUSED = {
    "another shape": (lambda m: setattr(m.router, "maturity", torch.zeros(3)), ATTRIBUTES, r"maturity is \[2\] there"),
    "another name": (lambda m: None, {"router": ["maturity"]}, r"skills was saved, and is not named here"),
    "one more": (lambda m: None, {**ATTRIBUTES, "router": ["maturity", "scratch", "name"]}, "was not saved"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_extra_state_that_does_not_fit_is_refused_and_nothing_changes(tmp_path, what):
    change, attributes, match = REFUSED[what]
    saved(tmp_path / "run", Experts(), extra=ATTRIBUTES)
    model = Experts()
    change(model)
    before = ExtraState(model, attributes).state_dict()
    with (
        Checkpointer(tmp_path / "run", model=model, extra=attributes) as saver,
        pytest.raises(LoadRefusedError, match=match),
    ):
        saver.resume()
    assert same(ExtraState(model, attributes).state_dict(), before)


WRONG = {
    "no such object": ({"gate": ["x"]}, "gate: a Experts has no gate"),
    "no such attribute": ({"router": ["age"]}, r"router\.age: a Router has no such attribute"),
    "a buffer that is saved": ({"router": ["seen"]}, r"router\.seen: it is in the state_dict of the model already"),
    "a parameter": ({"router.gate": ["weight"]}, "in the state_dict of the model already"),
    "a set": ({"router": ["objects"]}, r"router\.objects: a set is neither a plain value nor a tensor"),
    "a module": ({"": ["router"]}, "a Router is neither"),
    "a text for a list": ({"router": "maturity"}, "a list of names is needed, not 'maturity'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_saved_is_refused_when_it_is_named(tmp_path, what):
    attributes, match = WRONG[what]
    with pytest.raises(UsageError, match=match) as caught:
        Checkpointer(tmp_path / "run", model=Experts(), extra=attributes)
    assert str(caught.value).startswith("extra=: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_has_become_something_else_is_refused_when_it_is_saved(tmp_path):
    model = Experts()
    with Checkpointer(tmp_path / "run", model=model, extra=ATTRIBUTES) as saver:
        model.skills["add"] = SimpleNamespace()
        with pytest.raises(UsageError, match="skills: a SimpleNamespace is neither a plain value nor a tensor"):
            saver.save(1)
        del model.skills["add"]
        saver.save(1)


def test_a_plugin_names_attributes_of_models_that_it_knows(tmp_path, monkeypatch):
    """As installed: an entry point whose function says what a model has."""
    info = tmp_path / "site" / "ckpt_experts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ckpt-experts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ckpt_core.extra_state]\nexperts = ckpt_experts_plugin:attributes\n")
    module = tmp_path / "site" / "ckpt_experts_plugin.py"
    module.write_text(
        "def attributes(model):\n    return {'router': ['maturity']} if hasattr(model, 'router') else None\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    try:
        model = Experts()
        model.router.maturity += 3
        saved(tmp_path / "run", model)
        kept = state_dict(tmp_path / "run" / "checkpoint-1", "progress:extra")
        assert kept["router"]["maturity"].equal(torch.full((2,), 3.0))
        loaded = Experts()
        with Checkpointer(tmp_path / "run", model=loaded) as saver:
            saver.resume()
        assert loaded.router.maturity.equal(torch.full((2,), 3.0))
        assert not ExtraState(nn.Linear(1, 1))
        monkeypatch.setattr(sys.modules["ckpt_experts_plugin"], "attributes", lambda model: 1 / 0)
        with pytest.raises(PluginError, match=r"experts: ckpt_core\.extra_state: ZeroDivisionError"):
            ExtraState(model)
    finally:
        sys.modules.pop("ckpt_experts_plugin", None)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner),
    max_leaves=6,
)


@settings(max_examples=10, deadline=None)
@given(plain)
def test_any_plain_value_is_taken_and_given_back(value):
    first, second = SimpleNamespace(kept=value), SimpleNamespace(kept=None)
    ExtraState(second, {"": ["kept"]}).load_state_dict(ExtraState(first, {"": ["kept"]}).state_dict())
    assert second.kept == value and type(second.kept) is type(value)


def evaluated(stopping, losses):
    return [stopping({"val_loss": loss}) for loss in losses]


def test_the_patience_outlives_the_process(tmp_path):
    losses = [3.0, 2.0, 2.5, float("nan"), 2.0, 1.0]
    whole = EarlyStopping("val_loss", 3)
    expected = evaluated(whole, losses)
    assert expected == [False, False, False, False, True, False]
    made = training()
    first, second = EarlyStopping("val_loss", 3), EarlyStopping("val_loss", 3)
    found = evaluated(first, losses[:3])
    with checkpointer(tmp_path / "run", made, early_stopping=first) as saver:
        saver.save(1)
    with checkpointer(tmp_path / "run", made, early_stopping=second) as saver:
        saver.resume()
    assert (second.best, second.waited) == (2.0, 1)
    assert found + evaluated(second, losses[3:]) == expected
    other = EarlyStopping("+accuracy", 3)
    with (
        checkpointer(tmp_path / "run", made, early_stopping=other) as saver,
        pytest.raises(UsageError, match="early stopping is of val_loss"),
    ):
        saver.resume()


def test_early_stopping_knows_the_greatest_a_least_step_and_its_own_arguments():
    greatest = EarlyStopping("+accuracy", 1, min_delta=0.1)
    assert [greatest({"accuracy": value}) for value in (0.5, 0.7, 0.75)] == [False, False, True]
    with pytest.raises(UsageError, match="metric='\\+accuracy': it is not among the metrics"):
        greatest({"loss": 1.0})
    with pytest.raises(UsageError, match="patience=: a number from 1 on is needed"):
        EarlyStopping("loss", 0)


def test_the_metrics_of_every_step_are_those_of_a_run_that_nobody_stopped(tmp_path):
    whole = training()
    with checkpointer(tmp_path / "whole", whole, save_every=4) as saver:
        whole.run(8, saver)
    for stop in (3, 4, 8):
        made = training(seed=0 if stop == 3 else stop)
        with checkpointer(tmp_path / "run", made, save_every=2) as saver:
            made.step = saver.resume().step
            made.run(stop, saver)
    with checkpointer(tmp_path / "whole", training()) as one, checkpointer(tmp_path / "run", training()) as other:
        expected, found = one.resume().history, other.resume().history
    assert expected["loss"].keys() == set(range(1, 9))
    assert found == expected


def test_a_metric_on_a_device_is_not_waited_for_and_one_that_is_no_number_is_refused_at_once():
    history = History()
    history.add(1, {"loss": torch.tensor(2.5), "plain": 1})
    assert any(isinstance(value, torch.Tensor) for _, _, value in history._told)
    with pytest.raises(UsageError, match="a number is needed"):
        history.add(2, {"good": 1, "bad": "low"})
    history.add(1, {"loss": 3.5})
    assert history.of("loss") == {1: 3.5} and history.of("good") == {} and history.of("plain") == {1: 1.0}


def test_a_scaler_of_losses_is_saved_and_restored(tmp_path):
    made = training()
    first, second = (torch.amp.GradScaler("cpu", init_scale=scale) for scale in (2.0**7, 2.0**3))
    first._lazy_init_scale_growth_tracker(torch.device("cpu"))
    first.update(2.0**5)
    with checkpointer(tmp_path / "run", made, scaler=first) as saver:
        saver.save(1)
    with checkpointer(tmp_path / "run", made, scaler=second) as saver:
        assert "scaler" in saver.resume().restored
    assert second.state_dict() == first.state_dict() and second.get_scale() == 2.0**5


@pytest.mark.parametrize("name", ["history", "gradients"])
def test_a_name_that_the_checkpointer_needs_itself_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=f"{name}=: a Checkpointer saves its own under this name"):
        checkpointer(tmp_path / "run", training(), **{name: EarlyStopping("loss", 1)})
