"""What is no plain tensor is chosen by name like the others, and the advice of each refusal works."""

import ast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ckpt_core
from ckpt_core import UnsupportedFormatError
from ckpt_core.reading.objects import how_to_leave_out, objects_of, within, without
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import Opaque, TensorRef
from ckpt_core.schema.tensors import TensorTable


class Unknown:
    def __init__(self, **values):
        self.__dict__.update(values)


def quantized():
    return torch.quantize_per_tensor(torch.randn(2, 2), 0.1, 0, torch.qint8)


def sound(*names):
    return {name: torch.full((2, 2), float(number)) for number, name in enumerate(names)}


def odd_module():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[1].register_buffer("graph", torch.eye(2).to_sparse_csr())
    return module


# What is saved, and the names of the plain tensors that are left when the advice was followed.
SITUATIONS = {
    "a quantized tensor and a sparse one": (
        lambda: {**sound("ok"), "q": quantized(), "s": torch.eye(2).to_sparse()},
        ["ok"],
    ),
    "one kind in every layer": (
        lambda: {**{f"layers.{i}.weight": quantized() for i in range(12)}, **sound("layers.0.bias", "layers.11.bias")},
        ["layers.0.bias", "layers.11.bias"],
    ),
    "some layers only": (
        lambda: {"layers.0.weight": quantized(), **sound("layers.1.weight", "layers.10.weight")},
        ["layers.1.weight", "layers.10.weight"],
    ),
    "a name with signs of globs": (lambda: {"w[0]*": quantized(), **sound("w0x", "w[0]")}, ["w0x", "w[0]"]),
    "a name with spaces": (lambda: {"my weight": quantized(), **sound("ok")}, ["ok"]),
    "half complex": (lambda: {"h": torch.tensor([1 + 2j], dtype=torch.complex32), **sound("ok")}, ["ok"]),
    "an extra state": (lambda: {**sound("attn.weight"), "attn._extra_state": Unknown(scale=1)}, ["attn.weight"]),
    "an object with tensors": (lambda: {**sound("a"), "o": Unknown(w=torch.ones(3))}, ["a"]),
    "below a key of the model": (lambda: {"model": {**sound("a"), "meta": Unknown()}}, ["a"]),
    "in a module": (
        odd_module,
        ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"],
    ),
    "the whole is an object": (lambda: Unknown(w=torch.ones(2), b=torch.zeros(1)), ["b", "w"]),
    "nested in dicts": (lambda: {"model": {"net": sound("a"), "fn": {"hook": Unknown()}}}, None),
}


def follow(message):
    """The arguments of `convert` that a refusal advises, as they stand in it."""
    advice = message.partition(" with ")[2]
    assert advice, message
    [told] = ast.parse(f"convert({advice})").body
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in told.value.keywords}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", SITUATIONS)
def test_the_advice_of_a_refusal_works(tmp_path, name, suffix):
    make, names = SITUATIONS[name]
    value = make()
    if names is None and suffix == ".safetensors":
        pytest.skip("what is left is nested, which is written as torch")
    source, destination = tmp_path / "source.pt", tmp_path / f"out{suffix}"
    torch.save(value, source)
    with pytest.raises(UnsupportedFormatError) as refused:
        ckpt_core.convert(str(source), str(destination))
    assert not destination.exists()
    ckpt_core.convert(str(source), str(destination), **follow(refused.value.message))
    if names is None:
        assert list(torch.load(destination)["model"]["net"]) == ["a"]
        return
    written = load_file(destination) if suffix == ".safetensors" else torch.load(destination)
    assert sorted(written) == sorted(names)
    state = value.state_dict() if isinstance(value, nn.Module) else getattr(value, "__dict__", value)
    state = state.get("model", state)
    for key in names:
        assert torch.equal(written[key], state[key])


def test_the_advice_names_the_components_without_objects(tmp_path):
    source = tmp_path / "s.pt"
    torch.save({"model": sound("w"), "optimizer": {"state": {}, "param_groups": []}, "args": Unknown(lr=1)}, source)
    with pytest.raises(UnsupportedFormatError, match=r"args|config") as refused:
        ckpt_core.convert(str(source), str(tmp_path / "out.pth"))
    advice = follow(refused.value.message)
    assert advice["components"] == ["model", "optimizer"]
    ckpt_core.convert(str(source), str(tmp_path / "out.pth"), **advice)
    assert sorted(torch.load(tmp_path / "out.pth")) == ["model", "optimizer"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ({"include": ["ok"]}, ["ok"]),
        ({"include": ["q.*"]}, ["q.int_repr"]),
        ({"include": ["*.values", "ok"]}, ["ok", "s.values"]),
        ({"exclude": ["q", "s"]}, ["ok"]),
        ({"include": ["*"], "exclude": ["q", "s"]}, ["ok"]),
    ],
)
def test_names_choose_among_what_is_sound(tmp_path, patterns, names):
    source, destination = tmp_path / "s.pt", tmp_path / "o.safetensors"
    torch.save({**sound("ok"), "q": quantized(), "s": torch.eye(2).to_sparse()}, source)
    done = ckpt_core.convert(str(source), str(destination), **patterns)
    assert sorted(load_file(destination)) == names
    assert done.forecast.objects_left == ("q, quantized (qint8, per tensor); s, sparse COO",)


def test_plain_values_beside_tensors_are_chosen_too(tmp_path):
    source, destination = tmp_path / "s.pt", tmp_path / "o.safetensors"
    torch.save({**sound("w"), "version": 3}, source)
    with pytest.raises(UnsupportedFormatError, match=r"version.*exclude=\['version'\]"):
        ckpt_core.convert(str(source), str(destination))
    ckpt_core.convert(str(source), str(destination), exclude=["version"])
    assert sorted(load_file(destination)) == ["w"]


def test_counters_of_an_optimizer_stay_when_tensors_are_chosen(tmp_path):
    source = tmp_path / "s.pt"
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), source)
    ckpt_core.convert(str(source), str(tmp_path / "o.pth"), exclude=["*.exp_avg_sq"])
    written = torch.load(tmp_path / "o.pth")["optimizer"]
    assert list(written["state"][0]) == ["step", "exp_avg"]
    assert written["param_groups"] == optimizer.state_dict()["param_groups"]


def test_what_a_module_leaves_out_is_in_the_report_of_its_conversion(tmp_path):
    source = tmp_path / "s.pt"
    module = nn.Sequential(nn.Linear(2, 2))
    module.classes = ["cat"]
    torch.save({"model": module, "epoch": 2}, source)
    done = ckpt_core.convert(str(source), str(tmp_path / "o.safetensors"), components=["model"])
    assert done.forecast.left_out == ("progress",)
    (said,) = done.forecast.set_aside
    assert said.endswith("read as its state dict; left out: training, classes, and its code")


TABLE = TensorTable({}, entry=None, info=None)


def test_objects_are_the_outermost_ones_by_path():
    state = {"a": TensorRef("a"), "n": {"o": Opaque("X", (Opaque("Y"),))}, "l": [1, Opaque("Z")]}
    assert list(objects_of(state)) == ["n.o", "l.1"]
    assert objects_of(Opaque("X")) == {"": Opaque("X")}
    assert objects_of(None) == {}
    assert within("n.o.w", objects_of(state)) == "n.o"
    assert within("n.other", objects_of(state)) is None


def test_a_state_without_its_objects_is_none_where_only_tensors_remain():
    state = {"a": TensorRef("a"), "o": Opaque("X"), "v": 1}
    assert without(state, lambda path: path == "o") == {"a": TensorRef("a"), "v": 1}
    assert without(state, lambda path: True) is None
    assert without(state, lambda path: False) is state
    assert without(Opaque("X"), lambda path: True) is None


def test_there_is_no_advice_where_nothing_would_be_left():
    assert how_to_leave_out([Component("model", TABLE, Opaque("X"))]) is None
    assert how_to_leave_out([Component("model", TABLE, {"a": 1})]) is None
