"""TorchScript and exported programs read as tensors under the names of their state dicts; their code is left unread."""

import io
import json
import zipfile

import pytest
import torch
from torch import nn

import ckpt_core
from ckpt_core import CorruptError
from ckpt_core.codecs.heads.torch import TorchKind
from ckpt_core.schema.findings import Severity

pytestmark = pytest.mark.filterwarnings("ignore")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3))
        self.head = nn.Linear(3, 2).to(torch.bfloat16)
        self.register_buffer("mask", torch.tensor([True, False]))
        self.sizes = [1, 2]
        self.names = ["a"]

    def forward(self, x):
        return self.head(self.layers(x).to(torch.bfloat16)) * self.mask


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


MODULES = {
    "net": Net,
    "tied": Tied,
    "half": lambda: nn.Sequential(nn.Linear(2, 2)).double(),
    "one": lambda: nn.Linear(2, 2),
}
INPUT = {"half": torch.double}


def logical(tensor):
    plain = tensor.detach().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes()


def written(save, value):
    out = io.BytesIO()
    save(value, out)
    return out.getvalue()


def scripted(name):
    return torch.jit.script(MODULES[name]().eval())


def traced(name):
    return torch.jit.trace(MODULES[name]().eval(), torch.ones(2, 2, dtype=INPUT.get(name)))


def model_of(found, component="model"):
    from ckpt_core.layouts.components import components_of

    (model,) = (one for one in components_of(found.file.root, found.file.tensors) if one.label == component)
    return model


def assert_model(found, expected):
    model = model_of(found)
    assert sorted(model.tensors) == sorted(expected)
    assert model.state is None
    for name, tensor in expected.items():
        stored = next(key for key in found.file.tensors if key in (name, f"state_dict.{name}"))
        assert found.file.tensors[stored].shape == tuple(tensor.shape)
        assert found.data(stored) == logical(tensor), name


@pytest.mark.parametrize("make", [scripted, traced])
@pytest.mark.parametrize("name", MODULES)
def test_torchscript_reads_as_the_state_dict_that_torch_loads(opened, make, name):
    content = written(torch.jit.save, make(name))
    found = opened(content, "program.pt")
    assert found.file.kind is TorchKind.SCRIPT
    assert_model(found, torch.jit.load(io.BytesIO(content)).state_dict())
    (note,) = (note for note in found.file.findings if note.code == "TF012")
    assert note.severity is Severity.INFO
    assert ".py" in note.message
    assert found.check_bytes() == []
    assert "PK004" not in [note.code for note in found.file.findings]


def test_the_tensors_of_frozen_code_are_its_constants(opened):
    module = MODULES["one"]().eval()
    found = opened(written(torch.jit.save, torch.jit.freeze(torch.jit.script(module))), "frozen.pt")
    constants = model_of(found, "model:constants")
    assert sorted(found.data(f"constants.{name}") for name in constants.tensors) == sorted(
        logical(tensor) for tensor in module.state_dict().values()
    )


@pytest.mark.parametrize("name", MODULES)
def test_an_exported_program_reads_as_its_state_dict(opened, name):
    program = torch.export.export(MODULES[name]().eval(), (torch.ones(3, 2, dtype=INPUT.get(name)),))
    content = written(torch.export.save, program)
    found = opened(content, "program.pt2")
    assert found.file.kind is TorchKind.EXPORTED
    assert_model(found, torch.export.load(io.BytesIO(content)).state_dict)
    assert "models/model.json" in next(note.message for note in found.file.findings if note.code == "TF012")
    assert found.check_bytes() == []


def test_buffers_that_are_not_saved_are_constants_of_an_exported_program(opened):
    class Made(nn.Linear):
        def forward(self, x):
            return super().forward(x) + self.made

    module = Made(2, 2)
    module.register_buffer("made", torch.ones(2), persistent=False)
    found = opened(written(torch.export.save, torch.export.export(module, (torch.ones(3, 2),))), "program.pt2")
    assert_model(found, module.state_dict())
    assert list(model_of(found, "model:constants").tensors) == ["made"]


@pytest.mark.parametrize("save", [torch.jit.save, torch.export.save])
def test_a_module_of_the_class_is_filled_from_a_program(tmp_path, save):
    module, target = MODULES["one"](), MODULES["one"]()
    script = save is torch.jit.save
    program = torch.jit.script(module) if script else torch.export.export(module, (torch.ones(1, 2),))
    place = tmp_path / "program.pt2"
    place.write_bytes(written(save, program))
    assert ckpt_core.load_into(target, str(place)).coverage == 1.0
    assert torch.equal(target.weight, module.weight)
    ckpt_core.convert(str(place), str(tmp_path / "weights.safetensors"), components=["model"])


def exported_with(change):
    program = torch.export.export(MODULES["one"](), (torch.ones(1, 2),))
    with zipfile.ZipFile(io.BytesIO(written(torch.export.save, program))) as archive:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as changed:
            for name in archive.namelist():
                data = archive.read(name)
                if name.endswith("_weights_config.json"):
                    table = json.loads(data)
                    change(table["config"]["weight"])
                    data = json.dumps(table).encode()
                changed.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    "entry",
    [
        {"path_name": "weight_9"},
        {"path_name": "../../byteorder"},
        {"tensor_meta": None},
        {"tensor_meta": {"layout": 7, "dtype": 7, "sizes": [{"as_int": -1}], "strides": [{"as_int": 1}]}},
    ],
    ids=str,
)
def test_a_damaged_table_of_weights_is_refused(opened, entry):
    with pytest.raises(CorruptError) as refused:
        opened(exported_with(lambda found: found.update(entry)), "program.pt2")
    assert refused.value.code == "TF001"


def test_a_weight_that_reaches_outside_of_its_record_is_refused(opened):
    def longer(entry):
        entry["tensor_meta"]["sizes"] = [{"as_int": 2}, {"as_int": 2000}]

    with pytest.raises(CorruptError) as refused:
        opened(exported_with(longer), "program.pt2")
    assert refused.value.code == "TF002"


def test_a_weight_with_a_pickle_of_its_own_is_named_and_the_others_read(opened):
    found = opened(exported_with(lambda entry: entry.update(use_pickle=True)), "program.pt2")
    assert list(model_of(found).tensors) == ["bias"]
    assert [note.tensor for note in found.file.findings if note.code == "TF004"] == ["weight"]
