"""The laws of optimizers: torch loads or trains on with what passes, and refuses or fails with what does not."""

import pytest
import torch
from torch import nn

import ckpt_core
from ckpt_core import Profile

KINDS = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1),
    "AdamW, amsgrad": lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
    "AdamW, foreach": lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Adagrad": torch.optim.Adagrad,
    "Adadelta": torch.optim.Adadelta,
    "Adafactor": torch.optim.Adafactor,
    "RMSprop": lambda p: torch.optim.RMSprop(p, momentum=0.5),
    "Rprop": torch.optim.Rprop,
    "ASGD": torch.optim.ASGD,
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "LBFGS": torch.optim.LBFGS,
    "two groups": lambda p: torch.optim.AdamW([{"params": p[:1]}, {"params": p[1:], "lr": 1.0}], lr=0.1),
}


def network(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 2), nn.BatchNorm1d(2))


def trained(model, optimizer):
    def loss():
        optimizer.zero_grad()
        value = model(torch.ones(4, 3)).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return optimizer


def found(tmp_path, content, *, without=()):
    torch.save(content, tmp_path / "a.pt")
    report = ckpt_core.verify(str(tmp_path / "a.pt"), profile=Profile.RESUME, without=without).report
    return [f.code for f in report.findings if f.severity == 2], report.assessment.summary


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_of_torchs_is_complete_after_its_step(tmp_path, kind):
    model = network()
    optimizer = trained(model, KINDS[kind](list(model.parameters())))
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}
    assert found(tmp_path, content) == ([], "COMPLETE for resume; finite: not checked")


def frozen(model):
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    return list(model[2].parameters())


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


SOUND = {
    "some are frozen": lambda m: (m.state_dict(), torch.optim.AdamW(frozen(m))),
    "frozen ones are in the groups": lambda m: (m.state_dict(), torch.optim.AdamW([*m.parameters(), *frozen(m)[:0]])),
    "wrapped": lambda m: ({f"module.{k}": v for k, v in m.state_dict().items()}, torch.optim.AdamW(m.parameters())),
}


@pytest.mark.parametrize("case", SOUND)
def test_sound_optimizers_raise_no_alarm(tmp_path, case):
    model = network()
    weights, optimizer = SOUND[case](model)
    content = {"model": weights, "optimizer": trained(model, optimizer).state_dict(), "step": 1}
    assert found(tmp_path, content)[0] == []


def test_tied_weights_two_models_and_flat_or_quantized_states_raise_no_alarm(tmp_path):
    model = tied()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert found(tmp_path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1})[0] == []
    first, second = network(), network(8)
    both = {"generator": first.state_dict(), "discriminator": second.state_dict(), "step": 1}
    both |= {"optim_g": trained(first, torch.optim.AdamW(first.parameters())).state_dict()}
    both |= {"optim_d": trained(second, torch.optim.AdamW(second.parameters())).state_dict()}
    assert found(tmp_path, both) == ([], "COMPLETE for resume; finite: not checked")
    group = {"params": [0]}
    for state in (
        {"exp_avg": torch.ones(100)},  # the flat parameter of a sharded run
        {"state1": torch.ones(8, dtype=torch.uint8), "qmap1": torch.ones(256)},  # bitsandbytes
        {"exp_avg": torch.ones(2, 4), "projector": None},  # GaLore
        {"exp_avg_sq_row": torch.ones(4), "exp_avg_sq_col": torch.ones(3)},
    ):
        content = {"model": network().state_dict(), "optimizer": {"state": {0: state}, "param_groups": [group]}}
        assert found(tmp_path, {**content, "step": 1})[0] == []


NO_OPTIMIZER = {
    "text": "AdamW",
    "what it printed": str(torch.optim.SGD([torch.ones(1)], lr=0.1)),
    "a number": 0.001,
    "a truth value": True,
    "a tensor": torch.ones(3),
    "no groups": {"state": {}, "param_groups": []},
    "groups as text": {"state": {}, "param_groups": "lr=0.1"},
    "a state as text": {"state": "exp_avg", "param_groups": [{"params": [0]}]},
}


@pytest.mark.parametrize("case", NO_OPTIMIZER)
def test_what_torch_does_not_take_for_an_optimizer_is_none(tmp_path, case):
    model = network()
    with pytest.raises((TypeError, AttributeError, ValueError, KeyError, IndexError)):
        torch.optim.AdamW(model.parameters()).load_state_dict(NO_OPTIMIZER[case])
    content = {"model": model.state_dict(), "optimizer": NO_OPTIMIZER[case], "step": 0}
    codes, summary = found(tmp_path, content)
    assert codes == ["RS002"] and summary.startswith("CORRUPT")


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("SGD", "ASGD", "Rprop", "Adagrad")])
def test_an_optimizer_without_a_state_after_a_step_is_an_error(tmp_path, kind):
    model = network()
    fresh = KINDS[kind](list(model.parameters())).state_dict()
    codes, _ = found(tmp_path, {"model": model.state_dict(), "optimizer": fresh, "epoch": 3})
    assert codes == ["RS003"]
    assert found(tmp_path, {"model": model.state_dict(), "optimizer": fresh, "epoch": 0})[0] == []


def test_the_way_out_that_it_names_works(tmp_path):
    model = network()
    content = {"model": model.state_dict(), "optimizer": torch.optim.AdamW(model.parameters()).state_dict(), "step": 9}
    assert found(tmp_path, content, without=["optimizer"]) == ([], "COMPLETE for resume; finite: not checked")


@pytest.mark.parametrize("kind", ["AdamW", "SGD, momentum", "RMSprop", "Adamax", "two groups"])
@pytest.mark.parametrize("by_name", [False, True])
def test_an_optimizer_of_another_model_is_one_that_torch_cannot_train_on_with(tmp_path, kind, by_name):
    model, other = network(4), network(6)
    state = trained(other, KINDS[kind](list(other.parameters()))).state_dict()
    with pytest.raises((RuntimeError, ValueError)):
        optimizer = KINDS[kind](list(model.parameters()))
        optimizer.load_state_dict(state)
        trained(model, optimizer)
    if by_name:
        names = [name for name, _ in other.named_parameters()]
        state["state"] = {names[key]: value for key, value in state["state"].items()}
    codes, _ = found(tmp_path, {"model": model.state_dict(), "optimizer": state, "step": 1})
    assert codes == ["RS004"]


def test_an_optimizer_over_more_parameters_than_there_are_weights_is_refused(tmp_path):
    model, other = network(), nn.ModuleList([network(), network()])
    state = torch.optim.AdamW(other.parameters()).state_dict()
    with pytest.raises(ValueError, match="size of optimizer's group"):
        torch.optim.AdamW(model.parameters()).load_state_dict(state)
    weights = dict(model.named_parameters())
    codes, _ = found(tmp_path, {"model": weights, "optimizer": state, "step": 0})
    assert codes == ["RS004"]


def test_a_state_under_a_name_whose_weight_has_another_shape_is_refused(tmp_path):
    weights = {"a": torch.ones(2, 3), "b": torch.ones(3, 2)}
    swapped = {"a": {"exp_avg": torch.ones(3, 2)}, "b": {"exp_avg": torch.ones(2, 3)}}
    optimizer = {"state": swapped, "param_groups": [{"params": ["a", "b"]}]}
    assert found(tmp_path, {"model": weights, "optimizer": optimizer, "step": 1})[0] == ["RS004"]
