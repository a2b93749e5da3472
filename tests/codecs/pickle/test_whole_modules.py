"""A module, optimizer or schedule that was pickled whole reads as its own `state_dict()`, by torch itself."""

import pickle
import sys
import types
import warnings

import pytest
import torch
from torch import nn

import ckpt_core
from ckpt_core.codecs.pickle.reader import read_pickle
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.state import Opaque, TensorRef, tensor_names


@pytest.fixture(params=["zip", "legacy"])
def layout(request):
    return {"legacy": request.param == "legacy"}


@pytest.fixture(params=[2, 3, 4, 5])
def protocol(request):
    return {"protocol": request.param}


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("made", torch.zeros(2), persistent=False)
        self.register_buffer("nothing", None)
        self.register_parameter("absent", None)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.plain = torch.ones(4)
        self.listed = [nn.Linear(2, 2)]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.again = self.embedding


class Getstate(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.lock = object

    def __getstate__(self):
        return {key: item for key, item in self.__dict__.items() if key != "lock"}


class Slotted(nn.Module):
    __slots__ = ("extra",)

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.extra = 3


class Circular(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.parents = [self]
        self.inner.owner = (self,)


def nested():
    return nn.Sequential(
        nn.ModuleList([nn.Linear(2, 3), nn.ModuleDict({"a": nn.BatchNorm1d(3), "b": nn.Identity()})]),
        nn.ParameterList([torch.ones(2), torch.zeros(3)]),
        nn.ParameterDict({"left": torch.ones(1)}),
        nn.GRU(2, 3, bidirectional=True),
        nn.MultiheadAttention(4, 2, kdim=3),
        nn.ReLU(),
    )


def averaged():
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2))
    averaged.update_parameters(nn.Linear(2, 2))
    return averaged


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 3)), nn.utils.spectral_norm(nn.Conv1d(2, 2, 1)))


def with_buffer():
    module = nn.Linear(2, 2)
    module.mask = nn.Buffer(torch.ones(2))
    module.scratch = nn.Buffer(torch.ones(3), persistent=False)
    return module


MODULES = {
    "nested": nested,
    "without bias": lambda: nn.Linear(2, 3, bias=False),
    "half": lambda: nn.Conv2d(3, 8, 3).half(),
    "buffers of all kinds": Buffered,
    "tied": Tied,
    "a state of its own": Getstate,
    "slots": Slotted,
    "referred to by itself": Circular,
    "data parallel": lambda: nn.DataParallel(nn.Sequential(nn.Linear(2, 2))),
    "averaged": averaged,
    "weight norm as hooks": old_weight_norm,
    "transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2),
    "buffer class": with_buffer,
}


def logical(tensor):
    plain = tensor.detach().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def assert_reads_as(found, expected, root):
    """The state is the names of `expected`, and the bytes are its bytes."""
    assert list(root) == list(expected)
    for name, tensor in expected.items():
        entry = found.file.tensors[root[name].name]
        assert entry.shape == tuple(tensor.shape)
        stored = entry.alias_of or root[name].name
        assert found.data(stored) == logical(tensor), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODULES)
def test_a_module_reads_as_its_state_dict(opened, saved, layout, protocol, name):
    module = MODULES[name]()
    found = opened(saved(module, **layout, **protocol))
    assert_reads_as(found, module.state_dict(), found.file.root)
    assert all(root.name == key for key, root in found.file.root.items())
    assert [note.severity for note in found.file.findings if note.code == "TF011"] == [Severity.INFO]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODULES)
def test_what_torch_makes_of_the_file_has_the_same_names(saved, tmp_path, name):
    place = tmp_path / "whole.pt"
    place.write_bytes(saved({"model": MODULES[name](), "epoch": 3}))
    loaded = torch.load(place, weights_only=False)["model"]
    model = ckpt_core.load(str(place)).component("model")
    assert sorted(model.tensors) == sorted(loaded.state_dict())
    assert model.state is None


def test_what_a_state_dict_leaves_out_is_set_aside_by_name(opened, saved):
    file = opened(saved(Buffered())).file
    rest = file.metadata["attributes"][""]
    assert rest.class_name == f"{Buffered.__module__}.Buffered"
    assert list(rest.state) == ["training", "plain", "listed", "_buffers"]
    assert rest.state["_buffers"] == {"made": TensorRef("attributes._buffers.made")}
    assert "attributes.plain" in list(tensor_names(rest))
    (finding,) = (note for note in file.findings if note.code == "TF011")
    assert finding.message.endswith("left out: training, plain, listed, _buffers, and its code")


def test_what_is_set_aside_owns_no_storage_that_the_weights_share(opened, saved):
    module = nn.Linear(2, 2)
    module.alias = module.weight.detach()
    file = opened(saved({"first": module, "second": {"w": module.weight}})).file
    assert file.tensors["first.weight"].alias_of is None
    assert file.tensors["second.w"].alias_of == "first.weight"
    assert file.tensors["first.attributes.alias"].alias_of == "first.weight"


def test_modules_in_lists_and_dicts_are_each_their_state_dict(opened, saved, layout):
    first, second = nn.Linear(2, 2), nn.Sequential(nn.Linear(1, 1))
    file = opened(saved({"nets": [first, second], "epoch": 1, "config": {"net": first}}, **layout)).file
    assert file.root["nets"][0] == {"weight": TensorRef("nets.0.weight"), "bias": TensorRef("nets.0.bias")}
    assert list(file.root["nets"][1]) == ["0.weight", "0.bias"]
    assert file.root["config"]["net"]["weight"] == TensorRef("config.net.weight")
    assert file.tensors["config.net.weight"].alias_of == "nets.0.weight"


class Averager:
    """As trainers keep an average: an object that is no module, with one in it."""

    def __init__(self, module):
        self.ema = module
        self.updates = 7


def test_an_average_kept_in_an_object_is_the_ema(saved, tmp_path):
    net = nn.Sequential(nn.Linear(2, 2))
    place = tmp_path / "last.pt"
    place.write_bytes(saved({"model": net, "ema": Averager(net), "updates": 7}))
    checkpoint = ckpt_core.load(str(place))
    ema = checkpoint.component("ema")
    assert (list(ema.tensors), ema.state) == (["0.weight", "0.bias"], None)
    assert checkpoint.component("config:ema").state == Opaque(f"{Averager.__module__}.Averager", (), {"updates": 7})


def trained(optimizer_class, **options):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    groups = [{"params": model[1].parameters(), "lr": 0.5}, {"params": [model[0].weight, model[0].bias]}]
    optimizer = optimizer_class(groups, lr=0.1, **options)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {}),
    "untrained": (torch.optim.RMSprop, {}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_reads_as_its_state_dict(opened, saved, layout, protocol, name):
    kind, options = OPTIMIZERS[name]
    _, optimizer = trained(kind, **options)
    if name == "untrained":
        optimizer.state.clear()
    found = opened(saved({"optimizer": optimizer, "epoch": 1}, **layout, **protocol))
    expected = optimizer.state_dict()
    root = found.file.root["optimizer"]
    assert list(root) == ["state", "param_groups"]
    assert [group["params"] for group in root["param_groups"]] == [g["params"] for g in expected["param_groups"]]
    assert [group["lr"] for group in root["param_groups"]] == [0.5, 0.1]
    assert set(root["state"]) == set(expected["state"])
    for number, state in expected["state"].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                assert found.data(f"optimizer.state.{number}.{key}") == logical(value)
            else:
                assert root["state"][number][key] == value


def test_an_optimizer_by_itself_is_the_optimizer(saved, tmp_path):
    place = tmp_path / "optimizer.pt"
    place.write_bytes(saved(trained(torch.optim.AdamW)[1]))
    (component,) = ckpt_core.load(str(place)).manifest.components
    assert component.kind == "optimizer"
    assert "state.0.exp_avg" in component.tensors


@pytest.mark.parametrize(
    "make",
    [lambda o: torch.optim.lr_scheduler.StepLR(o, 3), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 9)],
)
def test_a_schedule_reads_as_its_state_dict(opened, saved, layout, make):
    model, optimizer = trained(torch.optim.AdamW)
    schedule = make(optimizer)
    optimizer.step()
    schedule.step()
    root = opened(saved({"model": model, "scheduler": schedule, "optimizer": optimizer}, **layout)).file.root
    assert root["scheduler"] == schedule.state_dict()
    assert "0.weight" in root["model"]


def test_a_dict_with_tensors_as_keys_keeps_its_pairs(opened, saved):
    key, other = torch.ones(2), torch.ones(2)
    root = opened(saved({"d": {key: "a", other: "b"}})).file.root
    assert root["d"] == Opaque("builtins.dict", ([(TensorRef("d.0.0"), "a"), (TensorRef("d.1.0"), "b")],))


FORGED = {
    "a name with a dot": {"_parameters": {"a.b": 1}, "_buffers": {}, "_modules": {}},
    "one name twice": {"_parameters": {"a": 1}, "_buffers": {"a": 2}, "_modules": {}},
    "a name that is no text": {"_parameters": {3: 1}, "_buffers": {}, "_modules": {}},
    "a list of parameters": {"_parameters": [], "_buffers": {}, "_modules": {}},
}


class Filled:
    def __init__(self, state):
        self.__dict__.update(state)


@pytest.mark.parametrize("name", FORGED)
def test_what_only_resembles_a_module_stays_an_object(name):
    root = read_pickle(pickle.dumps(Filled(FORGED[name])), path="x").tree.root
    assert root == Opaque(f"{Filled.__module__}.Filled", (), FORGED[name])


def test_modules_that_hold_each_other_are_refused_as_nested_without_end():
    first, second = nn.Module(), nn.Module()
    first._modules["a"], second._modules["b"] = second, first
    with pytest.raises(ckpt_core.CorruptError, match="levels"):
        read_pickle(pickle.dumps(first), path="x")


def test_no_module_of_a_file_is_imported(saved, tmp_path, monkeypatch):
    package = types.ModuleType("gone")
    monkeypatch.setitem(sys.modules, "gone", package)
    kind = type("Detector", (nn.Module,), {"__module__": "gone"})
    package.Detector = kind
    module = kind()
    module.layer = nn.Linear(2, 2)
    content = saved({"model": module})
    monkeypatch.delitem(sys.modules, "gone")
    place = tmp_path / "yolo.pt"
    place.write_bytes(content)
    assert list(ckpt_core.load(str(place)).component("model").tensors) == ["layer.weight", "layer.bias"]
    assert "gone" not in sys.modules


@pytest.mark.parametrize("name", ["nested", "tied", "buffers of all kinds"])
def test_a_module_of_the_class_is_filled_from_it(saved, tmp_path, name):
    stored, target = MODULES[name](), MODULES[name]()
    place = tmp_path / "whole.pth"
    place.write_bytes(saved(stored))
    report = ckpt_core.load_into(target, str(place))
    assert report.coverage == 1.0
    for key, tensor in stored.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[key])
