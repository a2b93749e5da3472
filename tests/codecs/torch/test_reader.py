"""What torch.save wrote reads byte for byte as torch reads it, in both layouts, and without torch."""

import importlib.metadata
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch

import ckpt_core
from ckpt_core import CorruptError, UnsupportedFormatError
from ckpt_core.codecs.heads.torch import TorchKind, sniff_torch
from ckpt_core.codecs.torch.reader import read_torch_file, sniff_pickle
from ckpt_core.codecs.torch_dtypes import BY_DTYPE_NAME
from ckpt_core.schema.findings import Severity
from ckpt_core.schema.state import Array, Opaque, TensorRef
from ckpt_core.schema.tensors import info_of
from ckpt_core.schema.verification import Depth


@pytest.fixture(params=["zip", "legacy"])
def layout(request):
    return {"legacy": request.param == "legacy"}


@pytest.fixture(params=[2, 3, 4, 5])
def protocol(request):
    return {"protocol": request.param}


def logical(tensor):
    """Row-major bytes of a tensor, by torch."""
    plain = tensor.detach().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def assert_same(found, tensors):
    assert list(found.file.tensors) == list(tensors)
    for name, tensor in tensors.items():
        entry = found.file.tensors[name]
        assert entry.shape == tuple(tensor.shape)
        assert found.data(name) == logical(tensor)
        assert found.file.tensors.info(name) == info_of(entry)


DTYPES = [getattr(torch, name) for name in dict.fromkeys(BY_DTYPE_NAME)]


@pytest.mark.parametrize("dtype", dict.fromkeys(DTYPES), ids=str)
def test_every_dtype_reads_byte_for_byte(opened, saved, layout, dtype):
    raw = torch.arange(48, dtype=torch.uint8) % 2 if dtype is torch.bool else torch.arange(48, dtype=torch.uint8)
    tensor = raw.view(dtype)
    found = opened(saved({"w": tensor}, **layout))
    assert_same(found, {"w": tensor})
    assert found.file.tensors["w"].dtype is BY_DTYPE_NAME[str(dtype).removeprefix("torch.")]


def test_pairs_of_four_bit_floats_are_counted_singly(opened, saved):
    tensor = torch.arange(6, dtype=torch.uint8).reshape(2, 3).view(torch.float4_e2m1fn_x2)
    found = opened(saved({"w": tensor}))
    assert (found.file.tensors["w"].dtype.code, found.file.tensors["w"].shape) == ("F4", (2, 6))
    assert found.file.tensors["w"].chunks[0].stored.length == 6


SHAPES = {
    "scalar": torch.tensor(7.0),
    "empty": torch.zeros(0, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "sliced": torch.arange(24.0).reshape(4, 6)[1:3, 2:5],
    "stepped": torch.arange(10)[::3],
    "expanded": torch.arange(3.0).reshape(3, 1).expand(3, 4),
    "at the end of its storage": torch.arange(10)[7:],
    "channels last": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    "ones of any stride": torch.arange(4.0).as_strided((1, 4, 1), (9, 1, 5)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_and_stride_reads_byte_for_byte(opened, saved, layout, protocol, name):
    assert_same(opened(saved({"w": SHAPES[name]}, **layout, **protocol)), {"w": SHAPES[name]})


def test_only_gapless_rows_have_no_strides(opened, saved):
    found = opened(saved(SHAPES))
    plain = [name for name in SHAPES if found.file.tensors[name].chunks[0].strides is None]
    assert plain == ["scalar", "empty", "at the end of its storage", "ones of any stride"]


def test_a_tensor_alone_is_named_tensor(opened, saved, layout):
    found = opened(saved(torch.arange(3), **layout))
    assert found.file.root == TensorRef("tensor")
    assert found.data("tensor") == logical(torch.arange(3))


def test_tied_tensors_are_aliases_of_the_first(opened, saved, layout, protocol):
    weight = torch.arange(6.0).reshape(2, 3)
    found = opened(
        saved({"a": weight, "b": weight, "c": weight.t(), "d": weight[0], "e": weight[0]}, **layout, **protocol)
    )
    aliases = {name: info.alias_of for name, info in found.file.tensors.infos()}
    assert aliases == {"a": None, "b": "a", "c": None, "d": None, "e": "d"}


def test_names_are_dotted_paths_and_state_refers_to_them(opened, saved, layout):
    value = {"model": OrderedDict(w=torch.ones(1)), "l": [torch.zeros(1), {3: (torch.ones(2),)}], "step": 7}
    found = opened(saved(value, **layout))
    assert list(found.file.tensors) == ["model.w", "l.0", "l.1.3.0"]
    assert found.file.root == {
        "model": {"w": TensorRef("model.w")},
        "l": [TensorRef("l.0"), {3: (TensorRef("l.1.3.0"),)}],
        "step": 7,
    }


def test_two_tensors_of_one_dotted_name_are_both_kept(opened, saved):
    value = {
        "a": {"b": torch.zeros(1)},
        "a.b": torch.ones(1),
        "a.b#2": torch.full((1,), 2.0),
        1: torch.ones(2),
        "1": torch.ones(3),
    }
    found = opened(saved(value))
    assert list(found.file.tensors) == ["a.b", "a.b#2", "a.b#2#2", "1", "1#2"]
    assert found.file.root["a.b"] == TensorRef("a.b#2")
    assert found.data("a.b#2") == logical(torch.ones(1))


def test_a_module_saved_whole_gives_its_tensors_under_the_names_of_its_state_dict(opened, saved, layout):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU())
    found = opened(saved(module, **layout))
    assert_same(found, module.state_dict())
    assert found.file.metadata["attributes"][""].class_name == "torch.nn.modules.container.Sequential"
    assert [note.code for note in found.file.findings] == ["TF011", "PK007"]


def test_a_state_dict_keeps_its_metadata_aside(opened, saved, layout, protocol):
    module = torch.nn.BatchNorm1d(3)
    found = opened(saved({"model": module.state_dict()}, **layout, **protocol))
    assert_same(found, {f"model.{name}": tensor for name, tensor in module.state_dict().items()})
    assert found.file.metadata["attributes"] == {"model": {"_metadata": {"": {"version": 2}}}}


def test_a_training_checkpoint_reads_whole(opened, saved, layout, protocol):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    rng = {"torch": torch.get_rng_state(), "numpy": np.random.get_state()}
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": rng,
    }
    found = opened(saved(value, **layout, **protocol))
    assert found.data("optimizer.state.0.exp_avg") == logical(optimizer.state_dict()["state"][0]["exp_avg"])
    assert found.data("rng.torch") == logical(rng["torch"])
    assert found.file.root["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    assert found.file.root["scheduler"]["last_epoch"] == 1
    keys = found.file.root["rng"]["numpy"][1]
    assert isinstance(keys, Array)
    assert keys.data == rng["numpy"][1].tobytes()
    assert found.file.findings == ()


def test_parameters_are_tensors(opened, saved, layout):
    parameter = torch.nn.Parameter(torch.arange(3.0))
    tagged = torch.nn.Parameter(torch.arange(2.0))
    tagged.tag = "x"
    found = opened(saved({"p": parameter, "t": tagged}, **layout))
    assert_same(found, {"p": parameter, "t": tagged})
    assert [(note.code, note.severity, note.tensor) for note in found.file.findings] == [("TF005", Severity.INFO, "t")]
    assert found.file.metadata["attributes"]["t"] == {"tag": "x"}


class Tagged(torch.Tensor):
    pass


def test_a_tensor_of_a_subclass_is_read_as_plain(opened, saved):
    found = opened(saved({"w": torch.arange(3.0).as_subclass(Tagged)}))
    assert found.data("w") == logical(torch.arange(3.0))
    assert "TF005" in [note.code for note in found.file.findings]


NOT_STRIDED = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(2, device="meta"),
    "conjugate": lambda: torch.view_as_complex(torch.ones(2, 2)).conj(),
    "negative": lambda: torch.view_as_complex(torch.ones(2, 2)).conj().imag,
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NOT_STRIDED)
def test_tensors_that_are_not_strided_stay_opaque_with_a_warning(opened, saved, name):
    found = opened(saved({"w": NOT_STRIDED[name](), "plain": torch.ones(1)}))
    assert isinstance(found.file.root["w"], Opaque)
    assert ("TF004", Severity.WARNING, "w") in [(note.code, note.severity, note.tensor) for note in found.file.findings]
    assert found.data("plain") == logical(torch.ones(1))


def test_dtypes_sizes_and_devices_are_plain(opened, saved):
    root = opened(saved([torch.float32, torch.Size([2, 3]), torch.device("cpu"), torch.strided])).file.root
    assert root[:3] == [Opaque("torch.float32"), (2, 3), Opaque("torch.device", ("cpu",))]


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_a_storage_saved_alone_is_kept_with_its_elements(opened, saved, layout):
    found = opened(saved({"s": torch.arange(3.0).storage()}, **layout))
    assert found.file.root == {"s": Opaque("torch.FloatStorage", (TensorRef("s"),))}
    assert found.data("s") == logical(torch.arange(3.0))


def test_a_big_endian_file_says_so_in_its_chunks(opened, zipped, saved):
    tensor = torch.arange(6, dtype=torch.int32).reshape(2, 3).t()
    stream = pickle_of(saved({"w": tensor, "b": torch.arange(3, dtype=torch.uint8)}))
    found = opened(zipped(stream, data__0=np.arange(6, dtype=">i4").tobytes(), data__1=b"\0\1\2", byteorder=b"big"))
    assert found.file.metadata["byte_order"] == "big"
    assert found.data("w") == logical(tensor)
    assert found.file.tensors.info("w").path is None
    assert found.file.tensors.info("b").path == "x.pth"


def pickle_of(content):
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read("archive/data.pkl")


@pytest.mark.parametrize(
    ("package", "suffix"), [("lpips", ".pth"), ("Resemblyzer", ".pt"), ("chgnet", ".tar")], ids=lambda value: value
)
def test_files_that_people_publish_read_byte_for_byte(package, suffix, opened):
    places = [file.locate() for file in importlib.metadata.files(package) if file.suffix == suffix]
    assert places
    for place in places:
        found = opened(place.read_bytes(), place.name)
        expected = dict(walk(torch.load(place, map_location="cpu", weights_only=False), ""))
        assert len(expected) == len(found.file.tensors) > 4
        for name, tensor in expected.items():
            assert found.data(name) == logical(tensor), name


def walk(value, prefix):
    if isinstance(value, torch.Tensor):
        yield prefix, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(item, f"{prefix}.{key}" if prefix else str(key))


def test_neither_torch_nor_numpy_is_needed(saved, tmp_path):
    value = {"w": torch.arange(6.0).reshape(2, 3).t(), "n": np.arange(3), "l": torch.nn.Linear(2, 2)}
    (tmp_path / "x.pth").write_bytes(saved(value))
    (tmp_path / "old.pth").write_bytes(saved(value, legacy=True))
    code = f"""
import sys
for name in ("torch", "numpy"):
    sys.modules[name] = None
from ckpt_core.storage.files.local import list_local
from ckpt_core.codecs.torch.reader import read_torch_file
from ckpt_core.reading.scan.full import walk
files = list_local({str(tmp_path)!r})
for name in ("x.pth", "old.pth"):
    file = read_torch_file(files, name)
    file.confirm()
    assert list(file.tensors)[0] == "w", list(file.tensors)
    sums = file.checksums()
    assert not walk(files, sums)
    assert not [finding for found in sums for finding in found.findings() if finding.severity > 0]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_kind_is_told_from_the_head(saved, zipped):
    assert sniff_torch(saved({})) is TorchKind.ZIP
    assert sniff_torch(zipped(b"N.")) is TorchKind.ZIP
    assert [sniff_torch(saved({}, legacy=True, protocol=protocol)) for protocol in (2, 3, 4, 5)] == [
        TorchKind.LEGACY
    ] * 4
    assert sniff_torch(b"storages".ljust(257, b"\0") + b"ustar\0" + b"\0" * 249) is TorchKind.TAR
    for other in (b"", b"PK\x03\x04", b"\x80\x04N.", b"cat.jpg".ljust(257, b"\0") + b"ustar\0", b"{}" * 100):
        assert sniff_torch(other) is None


def test_a_head_tells_the_names_in_the_pickle(saved, layout):
    head = sniff_pickle(saved({"model": torch.ones(1), "epoch": 3}, **layout)[:2000])
    assert {"model", "epoch"} < set(head.strings)
    assert "torch._utils._rebuild_tensor_v2" in head.globals
    assert sniff_pickle(b"PK\x03\x04") is None


@pytest.mark.parametrize("content", [b"", b"<html>", b"\0" * 600, b"\x89HDF\r\n"], ids=repr)
def test_something_else_is_no_torch_file(opened, content):
    with pytest.raises(CorruptError, match="not a torch file") as refused:
        opened(content)
    assert refused.value.code == "TF001"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tars_and_other_zips_are_unsupported(opened, zipped):
    tar = b"pickle".ljust(257, b"\0") + b"ustar\0" + b"\0" * 249
    for content in (tar, zipped(b"N.").replace(b"data.pkl", b"data.xml")):
        with pytest.raises(UnsupportedFormatError) as refused:
            opened(content)
        assert refused.value.code == "TF006"


def test_verifying_reports_what_reading_raises_and_what_checksums_show(saved, tmp_path):
    content = bytearray(saved({"w": torch.arange(100)}))
    place = tmp_path / "x.pth"

    def findings(depth):
        place.write_bytes(content)
        report = ckpt_core.verify(str(place), depth=depth, format="torch").report
        return [(note.code, note.tensor) for note in report.findings if note.severity is Severity.ERROR]

    assert findings(Depth.BYTES) == []
    content[content.index(torch.arange(100).numpy().tobytes()) + 8] ^= 1
    assert findings(Depth.LAYOUT) == []
    assert findings(Depth.BYTES) == [("ZP004", "w")]
    content[content.index(b"archive/data/0") + 13] ^= 1
    assert findings(Depth.LAYOUT) == [("ZP003", None)]
    content[-1] = 1
    assert findings(Depth.LAYOUT) == [("ZP001", None)]


def test_the_same_file_opens_in_a_directory(saved, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.pth").write_bytes(saved({"w": torch.ones(1)}))
    file = read_torch_file(ckpt_core.list_files(str(tmp_path)), "sub/x.pth")
    assert file.tensors.info("w").path == "sub/x.pth"
