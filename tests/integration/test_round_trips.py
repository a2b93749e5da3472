"""What save writes, read by the libraries whose formats they are; the same input makes the same bytes."""

import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ckpt_core
from ckpt_core.codecs.zip.directory import read_archive
from ckpt_core.codecs.zip.writer import Record, plan_zip
from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.schema.plans import Literal, TensorBytes
from ckpt_core.storage.listing import list_files
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save

NAMED = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
NAMED += ["complex64", "complex128", "uint16", "uint32", "uint64"]
NAMED += ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
DTYPES = [getattr(torch, name) for name in NAMED]


def raw(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)


def same(first, second):
    return (first.dtype, first.shape) == (second.dtype, second.shape) and torch.equal(raw(first), raw(second))


def of_type(dtype, shape=(3, 5)):
    draw = torch.Generator().manual_seed(0)
    count = int(np.prod(shape)) * dtype.itemsize
    data = torch.randint(0, 2 if dtype is torch.bool else 256, (count,), generator=draw, dtype=torch.uint8)
    return data.view(dtype).reshape(shape)


def state():
    """Every type, scalars, empty tensors, odd strides, ties, odd names."""
    made = {f"t.{dtype}": of_type(dtype) for dtype in DTYPES}
    made |= {f"s.{dtype}": of_type(dtype, ()) for dtype in (torch.float32, torch.bool, torch.uint16)}
    made |= {"empty": torch.empty(0), "hollow": torch.empty(3, 0, 2), "one": torch.ones(1)}
    base = torch.arange(240, dtype=torch.float32).reshape(12, 20)
    made |= {"transposed": base.t(), "strided": base[::2, 1::3], "expanded": torch.ones(3, 1).expand(3, 4)}
    made |= {"narrow": base[3:5], "tied": base, "tied.too": base, "weight with spaces": torch.ones(2)}
    made |= {
        "ünïcode.ключ.权重": torch.ones(2),
        'quote"d\\': torch.ones(2),
        "0": torch.ones(2),
        "x" * 300: torch.ones(2),
    }
    return made


@pytest.fixture(scope="module")
def made():
    return state()


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_what_was_written_for_it(made, tmp_path, mmap):
    path = str(tmp_path / "m.pth")
    save(made, path)
    found = torch.load(path, weights_only=True, mmap=mmap)
    assert list(found) == list(made)
    assert [name for name in made if not same(found[name], made[name])] == []
    assert found["tied"].data_ptr() == found["tied.too"].data_ptr()
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values()) or not mmap


def test_safetensors_reads_what_was_written_for_it(made, tmp_path):
    path = str(tmp_path / "m.safetensors")
    held = {
        name: tensor
        for name, tensor in made.items()
        if tensor.dtype not in (torch.complex128, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
    }
    save(held, path)
    found = load_file(path)
    assert set(found) == set(held) - {"tied.too"}
    assert [name for name in found if not same(found[name], held[name])] == []
    again = ckpt_core.load(path).to_torch("model")
    assert same(again["tied.too"], held["tied"])


def test_safetensors_refuses_what_it_has_no_type_for(tmp_path):
    with pytest.raises(UnsupportedFormatError, match="c: safetensors cannot hold C128"):
        save({"c": of_type(torch.complex128)}, str(tmp_path / "m.safetensors"))


def test_safetensors_refuses_several_components(tmp_path):
    whole = {"model": {"w": torch.ones(2)}, "optimizer": {"m": torch.ones(2)}}
    with pytest.raises(UsageError, match="choose one"):
        save(whole, str(tmp_path / "m.safetensors"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_an_optimizer_comes_back_from_a_file(make, tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = make(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = str(tmp_path / "full.pt")
    save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 7, "betas": (0.9, 0.95)}, path)
    found = torch.load(path, weights_only=True)
    fresh = make(torch.nn.Linear(3, 2).parameters(), lr=0.5)
    fresh.load_state_dict(found["optimizer"])
    assert fresh.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    for key, state_ in optimizer.state_dict()["state"].items():
        for name, value in state_.items():
            given = fresh.state_dict()["state"][key][name]
            assert torch.equal(given, value) if isinstance(value, torch.Tensor) else given == value


class Ours:
    def __init__(self):
        self.value = 3


def test_a_value_of_an_unknown_class_is_refused_and_never_dropped(tmp_path):
    path = str(tmp_path / "theirs.pt")
    torch.save({"model": {"w": torch.ones(2)}, "extra": Ours()}, path)
    opened = ckpt_core.load(path)
    with pytest.raises(UnsupportedFormatError, match="Ours cannot be written"):
        save(opened, str(tmp_path / "out" / "m.pt"))
    with pytest.raises(UnsupportedFormatError, match="Ours cannot be saved"):
        save({"model": {"w": torch.ones(2)}, "extra": Ours()}, str(tmp_path / "out" / "m.pt"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("make", [lambda: torch.ones(2, dtype=torch.cfloat).conj(), lambda: torch.ones(2).to_sparse()])
def test_a_tensor_that_is_not_plain_is_refused(make, tmp_path):
    with pytest.raises(UnsupportedFormatError, match=r"w: a .* tensor of .* cannot be saved as it is"):
        save({"w": make()}, str(tmp_path / "m.pth"))


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_the_same_input_makes_the_same_bytes(name, tmp_path):
    held = {key: value for key, value in state().items() if "complex128" not in key and "fnuz" not in key}
    written = []
    for folder in ("a", "b"):
        save(held, str(tmp_path / folder / name))
        written.append((tmp_path / folder / name).read_bytes())
    assert written[0] == written[1]


def sparse_archive(path, records):
    """A plan's archive on disk, a hole for the bytes of each tensor; where each hole is."""
    at, holes = 0, []
    with open(path, "wb") as file:
        for section in plan_zip(records):
            if isinstance(section, TensorBytes):
                holes.append((at, section.length))
            else:
                file.seek(at)
                file.write(section.data if isinstance(section, Literal) else section.make({}))
            at += section.length
        file.truncate(at)
    return holes


@pytest.mark.parametrize("place", ["m.pth", "d"])
def test_numpy_state_of_a_pickle_becomes_tensors_and_is_proved(place, tmp_path):
    state = np.random.RandomState(0).get_state()
    torch.save({"model": {"w": torch.ones(2)}, "rng": {"numpy": state, "seed": np.arange(3)}}, tmp_path / "source.pt")
    done = convert(str(tmp_path / "source.pt"), str(tmp_path / place), to="dcp" if place == "d" else None)
    assert done.report.tensors == 3
    found = ckpt_core.load(str(tmp_path / place))
    assert bytes(found.read("rng", "numpy.1")) == state[1].tobytes()
    assert bytes(found.read("rng", "seed")) == np.arange(3).tobytes()
    assert found.component("rng").state["numpy"][2:] == state[2:]


GIB = 1 << 30
SIZES = [[5 * GIB], [3 * GIB, 3 * GIB, 10], [(1 << 32) - 1], [(1 << 32) - 2, 7], [1 << 32, 7]]


@pytest.mark.parametrize(
    "sizes", [[5 * GIB], [3 * GIB, 3 * GIB, 10], [(1 << 32) - 1], [(1 << 32) - 2, 7], [1 << 32, 7]]
)
def test_archives_beyond_four_gibibytes_are_what_others_read(sizes, tmp_path):
    """Of a sparse file: where records start, and how long they are; zipfile compares local headers when it opens."""
    tensors = [Record(f"archive/data/{n}", TensorBytes("model", str(n), size)) for n, size in enumerate(sizes)]
    records = [Record("archive/data.pkl", Literal(b"pickle")), *tensors, Record("archive/version", Literal(b"3\n"))]
    path = tmp_path / "big.pt"
    holes = sparse_archive(path, records)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [record.name for record in records]
        assert [info.file_size for info in archive.infolist()] == [6, *sizes, 2]
        assert archive.read("archive/data.pkl") == b"pickle"
        assert archive.read("archive/version") == b"3\n"
        for info, (start, _) in zip(archive.infolist()[1:-1], holes, strict=True):
            with archive.open(info):
                assert archive.fp.tell() == start
    found = read_archive(list_files(str(path)), "big.pt")
    assert [(found[r.name].data_offset, found[r.name].size) for r in tensors] == holes
    assert all(start % 64 == 0 for start, _ in holes)


def test_seventy_thousand_records_are_counted(tmp_path):
    records = [Record(f"r/{number}", Literal(b"")) for number in range(70_000)]
    buffer = BytesIO()
    for section in plan_zip(records):
        buffer.write(section.data if isinstance(section, Literal) else section.make({}))
    with zipfile.ZipFile(buffer) as archive:
        assert len(archive.namelist()) == 70_000
