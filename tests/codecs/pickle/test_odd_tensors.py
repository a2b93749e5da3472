"""A tensor that is not plain is named with what it is, what it is made of is in the table, and the others read on."""

import pytest
import torch

from ckpt_core.schema.findings import Severity
from ckpt_core.schema.state import Opaque, TensorRef, from_json, tensor_names, to_json


@pytest.fixture(params=["zip", "legacy"])
def layout(request):
    return {"legacy": request.param == "legacy"}


class Wrapper(torch.Tensor):
    """A wrapper as torchao's are: the tensors inside of it are attributes."""

    @staticmethod
    def __new__(cls, data, scale, **attributes):
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=torch.float32)

    def __init__(self, data, scale, **attributes):
        self.int_data, self.scale = data, scale
        self.__dict__.update(attributes)

    def __tensor_flatten__(self):
        return ["int_data", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(func)


class Outer(Wrapper):
    """A wrapper of a wrapper, as torchao's AffineQuantizedTensor has its layout's tensor."""


def wrapped():
    return Wrapper(torch.arange(6, dtype=torch.int8).reshape(2, 3), torch.tensor([0.5, 2.0]), block_size=(1, 3))


def per_channel():
    scales, zeros = torch.tensor([0.1, 0.2]), torch.tensor([0, 3])
    return torch.quantize_per_channel(torch.randn(2, 4), scales, zeros, 0, torch.quint8)


def packed_quants():
    scales, zeros = torch.tensor([0.1, 0.2]), torch.tensor([0.0, 3.0])
    return torch.quantize_per_channel(torch.rand(2, 4), scales, zeros, 0, torch.quint4x2)


def jagged():
    return torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)], layout=torch.jagged)


RAW = torch.arange(16, dtype=torch.uint8)

# What is saved; what it is in words; the tensors that it is made of, as torch gives them.
ODD = {
    "qint8": (
        lambda: torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 3, torch.qint8),
        "quantized (qint8, per tensor)",
        lambda t: {"int_repr": t.int_repr()},
    ),
    "qint32 of strides": (
        lambda: torch.quantize_per_tensor(torch.randn(2, 4), 0.1, 3, torch.qint32).t(),
        "quantized (qint32, per tensor)",
        lambda t: {"int_repr": t.int_repr()},
    ),
    "per channel": (
        per_channel,
        "quantized (quint8, per channel)",
        lambda t: {
            "int_repr": t.int_repr(),
            "q_per_channel_scales": t.q_per_channel_scales(),
            "q_per_channel_zero_points": t.q_per_channel_zero_points(),
        },
    ),
    "packed quants": (packed_quants, "quantized (quint4x2, per channel)", None),
    "coo": (
        lambda: torch.eye(3).to_sparse(),
        "sparse COO",
        lambda t: {"indices": t._indices(), "values": t._values()},
    ),
    "csr": (
        lambda: torch.eye(3).to_sparse_csr(),
        "sparse CSR",
        lambda t: {"crow_indices": t.crow_indices(), "col_indices": t.col_indices(), "values": t.values()},
    ),
    "csc": (
        lambda: torch.eye(3).to_sparse_csc(),
        "sparse CSC",
        lambda t: {"ccol_indices": t.ccol_indices(), "row_indices": t.row_indices(), "values": t.values()},
    ),
    "bsr": (
        lambda: torch.eye(4).to_sparse_bsr((2, 2)),
        "sparse BSR",
        lambda t: {"crow_indices": t.crow_indices(), "col_indices": t.col_indices(), "values": t.values()},
    ),
    "bsc": (
        lambda: torch.eye(4).to_sparse_bsc((2, 2)),
        "sparse BSC",
        lambda t: {"ccol_indices": t.ccol_indices(), "row_indices": t.row_indices(), "values": t.values()},
    ),
    "nested": (
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)]),
        "nested",
        lambda t: {
            "values": t.values(),
            "sizes": t._nested_tensor_size(),
            "strides": t._nested_tensor_strides(),
            "storage_offsets": t._nested_tensor_storage_offsets(),
        },
    ),
    "jagged": (jagged, "nested (jagged)", lambda t: {"values": t.values(), "offsets": t.offsets()}),
    "complex32": (
        lambda: RAW.view(torch.complex32),
        "of type complex32",
        lambda t: {"bytes": RAW.reshape(4, 4)},
    ),
    "complex32 of strides": (
        lambda: RAW.view(torch.complex32)[1::2],
        "of type complex32",
        lambda t: {"bytes": RAW.reshape(4, 4)[1::2]},
    ),
    "bits8": (lambda: RAW.view(torch.bits8), "of type bits8", lambda t: {"bytes": RAW.reshape(16, 1)}),
    "bits16": (lambda: RAW.view(torch.bits16), "of type bits16", lambda t: {"bytes": RAW.reshape(8, 2)}),
    "uint4": (lambda: RAW.view(torch.bits4x2), "of type bits4x2", lambda t: {"bytes": RAW.reshape(16, 1)}),
    "conjugated": (
        lambda: torch.view_as_complex(torch.ones(2, 2)).conj(),
        "a view to be conjugated",
        lambda t: {"stored": t.conj()},
    ),
    "negated": (
        lambda: torch.view_as_complex(torch.arange(4.0).reshape(2, 2)).conj().imag,
        "a view to be negated",
        lambda t: {"stored": -t},
    ),
    "meta": (lambda: torch.empty(2, device="meta"), "on the meta device, without data", lambda t: {}),
    "uninitialized": (torch.nn.UninitializedParameter, "uninitialized, without data", lambda t: {}),
    "a wrapper": (wrapped, f"a wrapper, {__name__}.Wrapper", lambda t: {"int_data": t.int_data, "scale": t.scale}),
    "a wrapper as parameter": (
        lambda: torch.nn.Parameter(wrapped(), requires_grad=False),
        f"a wrapper, {__name__}.Wrapper",
        lambda t: {"int_data": t.int_data, "scale": t.scale},
    ),
    "a wrapper in a wrapper": (
        lambda: Outer(wrapped(), torch.ones(1)),
        f"a wrapper, {__name__}.Outer",
        lambda t: {"int_data.int_data": t.int_data.int_data, "int_data.scale": t.int_data.scale, "scale": t.scale},
    ),
}


def logical(tensor):
    plain = tensor.detach().contiguous().resolve_conj().resolve_neg().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ODD)
def test_an_odd_tensor_is_named_and_the_others_read_on(opened, saved, layout, name):
    make, what, _ = ODD[name]
    found = opened(saved({"before": torch.ones(1), "w": make(), "after": torch.arange(3)}, **layout))
    assert (found.data("before"), found.data("after")) == (logical(torch.ones(1)), logical(torch.arange(3)))
    notes = [note for note in found.file.findings if note.code == "TF004"]
    assert [(note.severity, note.tensor) for note in notes] == [(Severity.WARNING, "w")]
    assert notes[0].message.startswith(f"w: {what};")
    assert isinstance(found.file.root["w"], Opaque)
    assert found.file.root["w"].tensor == what
    assert from_json(to_json(found.file.root)) == found.file.root


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, row in ODD.items() if row[2] is not None])
def test_what_an_odd_tensor_is_made_of_is_in_the_table(opened, saved, layout, name):
    make, _, parts = ODD[name]
    tensor = make()
    found = opened(saved({"w": tensor}, **layout))
    expected = {f"w.{part}": inner for part, inner in parts(tensor).items()}
    assert list(tensor_names(found.file.root)) == list(expected)
    for key, inner in expected.items():
        assert found.file.tensors[key].shape == tuple(inner.shape)
        assert found.data(key) == logical(inner), key


def test_facts_of_an_odd_tensor_are_kept(opened, saved):
    root = opened(saved({"w": ODD["qint8"][0](), "x": wrapped()})).file.root
    assert root["w"].args[0]["q_zero_point"] == 3
    assert root["w"].args[0]["scheme"] == "torch.per_tensor_affine"
    assert root["x"].state["block_size"] == (1, 3)


def test_a_model_of_odd_tensors_says_each_kind_once(opened, saved):
    value = {f"layers.{i}": wrapped() for i in range(9)} | {"s": torch.eye(2).to_sparse(), "plain": torch.ones(1)}
    notes = [note.message for note in opened(saved(value)).file.findings if note.code == "TF004"]
    assert [note.partition(";")[0] for note in notes] == [
        f"layers.0, layers.1, layers.2 and 6 more: a wrapper, {__name__}.Wrapper",
        "s: sparse COO",
    ]


def test_an_odd_parameter_of_a_module_is_named_where_the_state_dict_has_it(opened, saved):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LazyLinear(3))
    module[1] = torch.nn.Linear(2, 2)
    module[0].weight = torch.nn.Parameter(wrapped(), requires_grad=False)
    module[1].register_buffer("graph", torch.eye(2).to_sparse())
    found = opened(saved(module))
    assert list(found.file.root) == ["0.weight", "0.bias", "1.weight", "1.bias", "1.graph"]
    assert found.data("0.weight.int_data") == logical(wrapped().int_data)
    assert [note.tensor for note in found.file.findings if note.code == "TF004"] == ["0.weight", "1.graph"]


def test_scales_among_the_attributes_of_a_tensor_are_a_warning(opened, saved):
    weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    weight.quant_state = {"absmax": torch.ones(1), "blocksize": 64}
    found = opened(saved({"w": weight}))
    (note,) = (note for note in found.file.findings if note.code == "TF005")
    assert (note.severity, note.tensor) == (Severity.WARNING, "w")
    assert "quant_state.absmax" in note.message
    assert found.file.root == {"w": TensorRef("w")}


def test_a_type_of_a_later_torch_is_named(opened, saved, zipped):
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(saved({"w": RAW.view(torch.bits8), "ok": torch.ones(1)}))) as archive:
        stream = archive.read("archive/data.pkl").replace(b"ctorch\nbits8\n", b"ctorch\nfloat9_e5m3\n")
        found = opened(zipped(stream, data__0=archive.read("archive/data/0"), data__1=archive.read("archive/data/1")))
    assert found.file.root["w"].tensor == "of type float9_e5m3"
    assert found.data("ok") == logical(torch.ones(1))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("_rebuild_qtensor", ()),
        ("_rebuild_sparse_tensor", (1, 2)),
        ("_rebuild_nested_tensor", ("x",)),
        ("_rebuild_meta_tensor_no_storage", ({},)),
        ("_rebuild_wrapper_subclass", (None,)),
    ],
)
def test_arguments_that_are_not_those_that_are_known_cost_the_others_nothing(name, args):
    import pickle

    from ckpt_core.codecs.pickle.reader import read_pickle

    function = f"ctorch._utils\n{name}\n".encode()
    stream = b"\x80\x02}X\x01\0\0\0w" + function + pickle.dumps(args, 2)[2:-1] + b"Rs."
    root = read_pickle(stream, path="x").tree.root
    assert root["w"].class_name == f"torch._utils.{name}"
    assert root["w"].tensor == f"made by torch._utils.{name}"
