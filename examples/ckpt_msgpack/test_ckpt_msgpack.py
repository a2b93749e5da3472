from math import prod
from pathlib import Path

import ckpt_msgpack
import msgpack
import numpy as np
import pytest

import ckpt_core
from ckpt_core import DType
from ckpt_core.testing import NUMPY_DTYPES, FormatTests, Sample


def as_flax_does(shape: tuple[int, ...], name: str, data: bytes) -> msgpack.ExtType:
    """See flax, `flax/serialization.py`, _ndarray_to_bytes and _msgpack_ext_pack."""
    return msgpack.ExtType(1, msgpack.packb((shape, name, data), use_bin_type=True))


def flax_reads(code: int, data: bytes) -> np.ndarray:
    """See the same file, _msgpack_ext_unpack and _ndarray_from_bytes."""
    assert code == 1
    shape, name, content = msgpack.unpackb(data, raw=True)
    return np.frombuffer(content, np.dtype(name.decode())).reshape(shape)


class TestMsgpack(FormatTests):
    format = "msgpack"
    plugin_module = "ckpt_msgpack"
    dtypes = (*NUMPY_DTYPES, DType.BF16)
    keeps_ties = False

    def write(self, folder: Path, sample: Sample) -> Path:
        names = ckpt_msgpack.NAMES
        tree = {
            name: as_flax_does(tensor.shape, names[tensor.dtype.code], tensor.data)
            for name, tensor in sample.tensors.items()
        }
        (folder / "x.msgpack").write_bytes(msgpack.packb(tree))
        return folder / "x.msgpack"


def test_msgpack_reads_what_the_plugin_writes(tmp_path: Path) -> None:
    shapes = [(2, 3), (), (300, 70), (0, 4)]
    arrays = {f"params/Dense_{i}/kernel": np.arange(prod(shape), dtype="<f4") for i, shape in enumerate(shapes)}
    arrays = {name: array.reshape(shape) for (name, array), shape in zip(arrays.items(), shapes, strict=True)}
    arrays |= {f"many/{i:02d}": np.array([i], "<i8") for i in range(40)}
    ckpt_core.save(arrays, str(tmp_path / "x.msgpack"), format="msgpack")
    tree = msgpack.unpackb((tmp_path / "x.msgpack").read_bytes(), ext_hook=flax_reads)
    assert list(tree["params"]) == ["Dense_0", "Dense_1", "Dense_2", "Dense_3"]
    for name, array in arrays.items():
        node = tree
        for key in name.split("/"):
            node = node[key]
        assert np.array_equal(node, array), name


def test_plain_values_beside_arrays_are_state(tmp_path: Path) -> None:
    tree = {"step": 7, "params": {"w": as_flax_does((2,), "int8", b"ab")}, "note": "x", "rate": 0.5, "off": None}
    (tmp_path / "x.msgpack").write_bytes(msgpack.packb(tree))
    component = ckpt_core.load(str(tmp_path / "x.msgpack")).component("model")
    expected = {**tree, "params": {"w": ckpt_core.TensorRef("params/w")}}
    assert component.state == expected
    assert list(component.tensors) == ["params/w"]


@pytest.mark.parametrize(
    "content",
    [
        msgpack.packb({"w": as_flax_does((3,), "int8", b"ab")}),
        msgpack.packb({"w": as_flax_does((2,), "int9", b"ab")}),
        msgpack.packb({"w": as_flax_does((-1, -2), "int8", b"ab")}),
        msgpack.packb({"w": msgpack.ExtType(2, b"ab")}),
        msgpack.packb({"a/b": as_flax_does((2,), "int8", b"ab")}),
        msgpack.packb({"w": [1, 2]}),
        msgpack.packb({1: 2}),
        msgpack.packb({"w": 1}) + b"\0",
        b"\x82" + msgpack.packb("w") * 4,
        b"\x81\xa1a" * 200,
        b"\xdf\xff\xff\xff\xff",
    ],
    ids=range(11),
)
def test_what_breaks_the_rules_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.msgpack").write_bytes(content)
    with pytest.raises(ckpt_core.CorruptError):
        ckpt_core.load(str(tmp_path / "x.msgpack"), format="msgpack")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a//b",), ("/a",), ("a/b/c/d", "a/b")])
def test_names_that_are_no_tree_are_refused_and_nothing_is_written(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = {name: np.zeros(2, "<f4") for name in names}
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="cannot hold this name"):
        ckpt_core.save(arrays, str(tmp_path / "x.msgpack"), format="msgpack")
    assert not (tmp_path / "x.msgpack").exists()
