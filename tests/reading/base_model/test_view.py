"""The view of a checkpoint as its base: the base's order and files, the checkpoint's weights."""

import numpy as np
import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.reading.base_model.fit import fit
from ckpt_core.reading.base_model.view import OntoBase
from ckpt_core.reading.selection import select
from ckpt_core.schema.dtypes import DType


@pytest.fixture
def ends(tmp_path):
    """A checkpoint and its base: a convolution here, a linear map there, and a table that only the base has."""
    conv = np.arange(6 * 3 * 2 * 2, dtype="f4").reshape(6, 3, 2, 2)
    mine = {"module.w": np.full((2, 3), 7, "f4"), "module.conv": conv}
    base = {"table": np.arange(5, dtype="f4"), "conv": np.zeros((6, 12), "f4"), "w": np.zeros((2, 3), "f4")}
    ckpt_core.save({"model": mine}, str(tmp_path / "mine.pth"))
    ckpt_core.save({"model": base}, str(tmp_path / "base.pth"))
    return ckpt_core.load(str(tmp_path / "mine.pth")), ckpt_core.load(str(tmp_path / "base.pth")), conv


@pytest.fixture
def view(ends):
    mine, base, _ = ends
    return OntoBase(mine, base, [fit(mine.component("model"), base.component("model"), optional=["table"])])


def test_names_shapes_and_order_are_the_bases(view, ends):
    table = view.component("model").tensors
    base = ends[1].component("model").tensors
    assert {name: info.shape for name, info in table.infos()} == {n: o.shape for n, o in base.infos()}
    assert list(table) == list(base)
    assert all(table[name].shape == info.shape for name, info in table.infos())


def test_values_are_the_checkpoints_and_the_tables_are_the_bases(view, ends):
    conv = ends[2]
    assert bytes(view.read("model", "w")) == np.full(6, 7, "f4").tobytes()
    assert bytes(view.read("model", "table")) == np.arange(5, dtype="f4").tobytes()
    assert bytes(view.read("model", "conv")) == conv.transpose(0, 2, 3, 1).tobytes()
    assert (
        bytes(view.read("model", "conv", box=((4, 3), (1, 2))))
        == conv.transpose(0, 2, 3, 1).reshape(6, 12)[4:5, 3:5].tobytes()
    )


def test_each_tensor_tells_where_it_is_from_and_what_was_done(view):
    assert view.origin_key("model", "w") == ("model", "module.w") and view.operations("model", "w") == ()
    assert view.operations("model", "conv") == ("conv2d to linear",)
    assert view.origin("model", "conv").shape == (6, 3, 2, 2)
    assert view.operations("model", "table") == ("take from the base",)


@pytest.mark.parametrize("slab", [1, 1 << 20])
def test_a_cast_composes_with_the_order_and_both_sides_are_streamed(view, ends, slab):
    conv = ends[2]
    cast = select(view, dtypes=[("*", DType.F16)])
    assert cast.operations("model", "conv") == ("conv2d to linear", "cast F32 to F16")
    assert cast.operations("model", "table") == ("take from the base", "cast F32 to F16")
    with knobs.override(slab_bytes=slab):
        pairs = [(bytes(a), bytes(b)) for a, b in cast.stream("model", "conv")]
    assert b"".join(a for a, _ in pairs) == conv.tobytes()
    assert b"".join(b for _, b in pairs) == conv.transpose(0, 2, 3, 1).astype("f2").tobytes()


def test_it_is_another_source_where_either_end_changed(view, ends, tmp_path):
    def opened():
        mine, base = (ckpt_core.load(str(tmp_path / name)) for name in ("mine.pth", "base.pth"))
        fits = fit(mine.component("model"), base.component("model"), optional=["table"])
        return OntoBase(mine, base, [fits]).identity()

    before = view.identity()
    assert opened() == before
    for name in ("mine.pth", "base.pth"):
        (tmp_path / name).touch()
        assert opened() != before
        before = opened()
