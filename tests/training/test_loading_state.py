"""State of a training out of every format that has some, as torch's own, and into objects: whole, or not at all."""

import copy
import json
import random
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

import ckpt_core
from ckpt_core.errors import CorruptError, LoadInterruptedError, LoadRefusedError, UnsupportedFormatError
from ckpt_core.training import load_into, state_dict

torch.set_num_threads(1)

KINDS = {
    "AdamW": lambda params: torch.optim.AdamW(params, lr=1e-2, amsgrad=True),
    "SGD": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9),
    "Adagrad": lambda params: torch.optim.Adagrad(params, lr=1e-2),
    "Adadelta": torch.optim.Adadelta,
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=1e-3, momentum=0.5, centered=True),
    "NAdam": torch.optim.NAdam,
    "LBFGS": lambda params: torch.optim.LBFGS(params, max_iter=2),
}


def model(width=6, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, 1))


def groups(module):
    return [{"params": module[0].parameters()}, {"params": module[2].parameters(), "weight_decay": 0.1}]


def stepped(module, optimizer, steps=2, seed=7):
    """Train on data that is the same for every caller; the losses."""
    source = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        data = torch.randn(5, module[0].in_features, generator=source)

        def closure(data=data):
            optimizer.zero_grad()
            loss = module(data).square().mean()
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    return losses


def trained(kind="AdamW", width=6, grouped=True):
    module = model(width)
    grouped = grouped and kind != "LBFGS"
    optimizer = KINDS[kind](groups(module) if grouped else module.parameters())
    stepped(module, optimizer)
    return module, optimizer


def equal(first, second):
    """Whether two trees are the same, tensors to the bit and types too."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype is second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict) and list(first) == list(second) and all(equal(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and first == second


def as_file(folder, module, optimizer):
    torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict(), "step": 2}, folder / "x.pt")
    return str(folder / "x.pt")


def as_trainer(folder, module, optimizer):
    place = folder / "checkpoint-2"
    place.mkdir()
    save_file(module.state_dict(), place / "model.safetensors", {"format": "pt"})
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    (place / "trainer_state.json").write_text(json.dumps({"global_step": 2}))
    return str(place)


def as_accelerate(folder, module, optimizer):
    place = folder / "checkpoint_2"
    place.mkdir()
    save_file(module.state_dict(), place / "model.safetensors", {"format": "pt"})
    torch.save(optimizer.state_dict(), place / "optimizer.bin")
    torch.save({"step": 2}, place / "random_states_0.pkl")
    return str(place)


def as_lightning(folder, module, optimizer):
    state = {"state_dict": module.state_dict(), "optimizer_states": [optimizer.state_dict()], "lr_schedulers": []}
    torch.save({**state, "epoch": 0, "global_step": 2, "pytorch-lightning_version": "2.6.6"}, folder / "x.ckpt")
    return str(folder / "x.ckpt")


def as_written_by_us(folder, module, optimizer):
    ckpt_core.save({"model": module.state_dict(), "optimizer": optimizer.state_dict()}, folder / "ours.pt")
    return str(folder / "ours.pt")


FORMATS = [as_file, as_trainer, as_accelerate, as_lightning, as_written_by_us]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("saved", FORMATS)
def test_an_optimizer_goes_on_as_if_nothing_had_happened(tmp_path, saved, kind):
    module, optimizer = trained(kind)
    ref = saved(tmp_path, module, optimizer)
    assert equal(state_dict(ref, "optimizer"), optimizer.state_dict()) or saved is as_lightning
    other = model(seed=1)
    fresh = KINDS[kind](groups(other) if kind != "LBFGS" else other.parameters())
    load_into(other, ref)
    report = load_into(fresh, ref)
    assert equal(fresh.state_dict(), optimizer.state_dict())
    assert report.coverage == 1.0 or kind == "LBFGS"
    assert stepped(other, fresh, seed=8) == stepped(module, optimizer, seed=8)


def test_a_distributed_checkpoint_gives_torchs_numbers_too(tmp_path):
    module, optimizer = trained()
    named = [name for group in (module[0], module[2]) for name, _ in group.named_parameters()]
    names = [f"{'0' if i < 2 else '2'}.{name}" for i, name in enumerate(named)]
    held = optimizer.state_dict()
    by_name = {
        "state": {names[number]: item for number, item in held["state"].items()},
        "param_groups": [{**g, "params": [names[n] for n in g["params"]]} for g in held["param_groups"]],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": module.state_dict(), "optimizer": by_name}, checkpoint_id=tmp_path / "d", no_dist=True)
    found = state_dict(str(tmp_path / "d"), "optimizer")
    assert found["param_groups"][1]["params"] == [2, 3]
    other = model(seed=1)
    fresh = KINDS["AdamW"](groups(other))
    load_into(fresh, str(tmp_path / "d"))
    load_into(other, str(tmp_path / "d"))
    assert equal(fresh.state_dict()["state"], held["state"])
    assert stepped(other, fresh, seed=8) == stepped(module, optimizer, seed=8)


@pytest.fixture
def flattened(tmp_path):
    """A DCP of an optimizer with groups that torch flattened, and what it was of."""
    module, optimizer = trained(grouped=True)
    flat = get_optimizer_state_dict(module, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": module.state_dict(), "optimizer": flat}, checkpoint_id=tmp_path / "d", no_dist=True)
    return tmp_path / "d", module, optimizer


def test_a_state_that_torch_flattened_is_put_together_by_the_names_of_the_model(flattened):
    place, module, optimizer = flattened
    other = model(seed=1)
    fresh = KINDS["AdamW"](groups(other))
    load_into(fresh, str(place), model=other)
    load_into(other, str(place))
    assert equal(fresh.state_dict()["state"], optimizer.state_dict()["state"])
    assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in optimizer.param_groups]
    assert stepped(other, fresh, seed=8) == stepped(module, optimizer, seed=8)


def test_a_flattened_state_is_refused_without_the_model_and_where_it_is_of_another(flattened):
    place, module, optimizer = flattened
    before = copy.deepcopy(optimizer.state_dict())
    one_group = KINDS["AdamW"](module.parameters())
    fewer = KINDS["AdamW"](list(module.parameters())[:2])
    for target, of, reason in (
        (optimizer, None, "by the names of parameters.* give model="),
        (optimizer, model(seed=1), "a parameter that is none of the model's"),
        (one_group, module, "is not that of the others in its group"),
        (fewer, module, "the optimizer has no parameter"),
    ):
        with pytest.raises(LoadRefusedError, match=reason):
            load_into(target, str(place), model=of)
    assert equal(optimizer.state_dict(), before)


def test_a_model_comes_back_by_name_and_ties_share_one_tensor(tmp_path):
    module = model()
    held = {**module.state_dict(), "tied": module[0].weight.detach()}
    torch.save(held, tmp_path / "x.pt")
    found = state_dict(tmp_path / "x.pt")
    assert equal(found, held)
    assert found["tied"] is found["0.weight"]
    assert found["0.bias"].untyped_storage().nbytes() == found["0.bias"].nbytes, "it holds on to the others' memory"


def test_random_states_come_back_as_they_were_saved(tmp_path):
    saved = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
    torch.save({"model": model().state_dict(), "rng": saved}, tmp_path / "x.pt")
    assert equal(state_dict(tmp_path / "x.pt", "rng"), saved)


SCHEDULES = {
    "steps": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 4]),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 9),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_goes_on_with_the_same_rates(tmp_path, kind):
    def rates(optimizer, schedule, count):
        found = []
        for _ in range(count):
            optimizer.step()
            schedule.step(1.0) if kind == "plateau" else schedule.step()
            found.append(optimizer.param_groups[0]["lr"])
        return found

    def fresh():
        optimizer = torch.optim.SGD(model().parameters(), lr=0.5)
        return optimizer, SCHEDULES[kind](optimizer)

    optimizer, schedule = fresh()
    rates(optimizer, schedule, 3)
    state = {"model": model().state_dict(), "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict()}
    ckpt_core.save(state, tmp_path / "x.pt")
    other, second = fresh()
    load_into(other, tmp_path / "x.pt")
    load_into(second, tmp_path / "x.pt")
    assert rates(other, second, 5) == rates(optimizer, schedule, 5)
    assert type(second.state_dict().get("milestones", Counter())) is Counter


WRONG = {
    "another number of groups": lambda: KINDS["AdamW"](model().parameters()),
    "another number of parameters": lambda: KINDS["AdamW"](groups(model())[:1] + [{"params": [model()[2].weight]}]),
    "other shapes": lambda: KINDS["AdamW"](groups(model(7))),
    "another kind": lambda: KINDS["SGD"](groups(model())),
    "another kind with rates": lambda: KINDS["RMSprop"](groups(model())),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused_and_the_optimizer_goes_on_unchanged(tmp_path, what):
    ref = as_file(tmp_path, *trained())
    optimizer = WRONG[what]()
    for group in optimizer.param_groups:
        for tensor in group["params"]:
            tensor.grad = torch.ones_like(tensor)
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    held = [id(value) for fields in optimizer.state.values() for value in fields.values()]
    with pytest.raises(LoadRefusedError, match="nothing was loaded"):
        load_into(optimizer, ref)
    assert equal(optimizer.state_dict(), before)
    assert [id(value) for fields in optimizer.state.values() for value in fields.values()] == held


def test_a_schedule_of_another_class_is_refused(tmp_path):
    optimizer = torch.optim.SGD(model().parameters(), lr=0.5)
    state = {"model": model().state_dict(), "scheduler": SCHEDULES["cosine"](optimizer).state_dict()}
    ckpt_core.save(state, tmp_path / "x.pt")
    schedule = SCHEDULES["steps"](torch.optim.SGD(model().parameters(), lr=0.5))
    before = copy.deepcopy(schedule.state_dict())
    with pytest.raises(LoadRefusedError, match=r"T_max.*MultiStepLR"):
        load_into(schedule, tmp_path / "x.pt")
    assert schedule.state_dict() == before


@pytest.mark.parametrize("saved", [as_file, as_trainer])
def test_a_flipped_bit_in_a_moment_changes_nothing(tmp_path, saved):
    module, optimizer = trained()
    ref = saved(tmp_path, module, optimizer)
    stored = ckpt_core.load(ref)
    info = stored.component("optimizer").tensors.info("state.1.exp_avg")
    path = stored.files.local_path(info.path)
    with open(path, "r+b") as file:
        file.seek(info.offset)
        byte = file.read(1)[0]
        file.seek(info.offset)
        file.write(bytes([byte ^ 1]))
    other = model(seed=1)
    fresh = KINDS["AdamW"](groups(other))
    stepped(other, fresh)
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(CorruptError):
        load_into(fresh, ref)
    assert equal(fresh.state_dict(), before)


class Stubborn:
    """An object that fails in the middle of taking a state; `back` is whether it takes its own again."""

    def __init__(self, back):
        self.values, self.back, self.failed = {"a": 1, "b": 2}, back, False

    def state_dict(self):
        return dict(self.values)

    def load_state_dict(self, state):
        self.values["a"] = state["a"]
        if not self.failed or not self.back:
            self.failed = True
            raise RuntimeError("no room for b")
        self.values["b"] = state["b"]


def test_an_object_that_fails_midway_is_given_its_own_state_back(tmp_path):
    ckpt_core.save({"model": model().state_dict(), "sampler": {"a": 5, "b": 6}}, tmp_path / "x.pt")
    target = Stubborn(back=True)
    with pytest.raises(LoadRefusedError, match=r"no room for b.*it is as it was"):
        load_into(target, tmp_path / "x.pt", component="sampler")
    assert target.values == {"a": 1, "b": 2}
    with pytest.raises(LoadInterruptedError, match="must not be used"):
        load_into(Stubborn(back=False), tmp_path / "x.pt", component="sampler")


def test_moments_of_another_type_are_cast_as_torch_does_and_said(tmp_path):
    module, optimizer = trained()
    ref = as_file(tmp_path, module, optimizer)
    other = model().to(torch.bfloat16)
    fresh = KINDS["AdamW"](groups(other))
    report = load_into(fresh, ref)
    assert report.cast["0.exp_avg"] == ("float32", "bfloat16") and "0.step" not in report.cast


def test_an_object_of_an_unknown_class_is_refused_and_named(tmp_path):
    torch.save(
        {"model": model().state_dict(), "optimizer": {"state": {}, "param_groups": [{"x": Stubborn(True)}]}},
        tmp_path / "x.pt",
    )
    with pytest.raises(UnsupportedFormatError, match=r"optimizer\.param_groups\.0\.x: .*Stubborn"):
        state_dict(tmp_path / "x.pt", "optimizer")
