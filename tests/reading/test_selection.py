import numpy as np
import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.errors import LoadError, UsageError
from ckpt_core.reading.selection import select
from ckpt_core.schema.dtypes import DType
from ckpt_core.verbs.save import save


@pytest.fixture
def opened(tmp_path):
    weights = {
        "enc.a.weight": np.arange(2000, dtype="f4").reshape(20, 100),
        "enc.b.weight": np.arange(6, dtype="f8"),
        "dec.steps": np.arange(4),
    }
    weights["dec.tied"] = weights["enc.a.weight"]
    save({"model": weights, "optimizer": {"m": np.ones(3, "f4")}, "step": 7}, str(tmp_path / "m.pth"))
    return ckpt_core.load(str(tmp_path / "m.pth"))


def names(view, label="model"):
    return list(view.component(label).tensors)


def test_components_are_chosen_by_label(opened):
    view = select(opened, components=["model"])
    assert [component.label for component in view.manifest.components] == ["model"]
    with pytest.raises(UsageError, match="no component nonsense"):
        select(opened, components=["nonsense"])


def test_tensors_are_chosen_by_pattern(opened):
    assert names(select(opened, include=["enc.*"])) == ["enc.a.weight", "enc.b.weight"]
    assert names(select(opened, include=["enc.*"], exclude=["*.b.*"])) == ["enc.a.weight"]
    with pytest.raises(UsageError, match="no tensor is left"):
        select(opened, components=["model"], include=["nothing*"])


def test_the_first_prefix_that_fits_renames(opened):
    view = select(opened, components=["model"], rename=[("enc.a.", "x."), ("enc.", "y.")])
    assert names(view)[:2] == ["x.weight", "y.b.weight"]
    assert view.origin_key("model", "x.weight") == ("model", "enc.a.weight")
    assert bytes(view.read("model", "x.weight")) == bytes(opened.read("model", "enc.a.weight"))
    assert view.component("model").tensors["dec.tied"].alias_of == "x.weight"


def test_two_tensors_never_get_one_name(opened):
    with pytest.raises(UsageError, match="would both be named"):
        select(opened, components=["model"], rename=[("enc.a.", ""), ("enc.b.", "")])


def test_an_alias_whose_tensor_is_left_out_stands_alone(opened):
    view = select(opened, components=["model"], exclude=["enc.*"])
    assert view.component("model").tensors["dec.tied"].alias_of is None
    assert bytes(view.read("model", "dec.tied")) == bytes(opened.read("model", "enc.a.weight"))


def test_the_last_rule_that_fits_says_the_type_and_integers_keep_theirs(opened):
    view = select(opened, components=["model"], dtypes=[("*", DType.BF16), ("enc.b.*", DType.F16)])
    table = view.component("model").tensors
    types = {name: info.dtype for name, info in table.infos()}
    assert types["enc.a.weight"] is types["dec.tied"] is DType.BF16
    assert types["enc.b.weight"] is DType.F16
    assert types["dec.steps"] is DType.I64
    assert view.origin("model", "enc.b.weight").dtype is DType.F64
    assert view.operations("model", "enc.b.weight") == ("cast F64 to F16",)
    assert view.operations("model", "dec.steps") == ()


def test_a_view_of_a_view_tells_the_whole_way_from_what_is_stored(opened):
    inner = select(opened, components=["model"], rename=[("enc.", "x.")], dtypes=[("*", DType.F32)])
    view = select(inner, rename=[("x.", "y.")], dtypes=[("*", DType.F16)])
    assert view.origin_key("model", "y.b.weight") == ("model", "enc.b.weight")
    assert view.origin("model", "y.b.weight").dtype is DType.F64
    assert view.operations("model", "y.b.weight") == ("cast F64 to F32", "cast F32 to F16")
    [(read, data)] = view.stream("model", "y.b.weight")
    assert bytes(read) == np.arange(6, dtype="f8").tobytes() and bytes(data) == np.arange(6, dtype="f2").tobytes()


@pytest.mark.parametrize("slab", [64, 1000, 1 << 20])
def test_a_stream_gives_what_was_read_and_what_it_became(opened, slab):
    view = select(opened, components=["model"], dtypes=[("*", DType.F16)])
    whole = np.frombuffer(opened.read("model", "enc.a.weight"), "f4")
    with knobs.override(slab_bytes=slab):
        pairs = [(bytes(before), bytes(after)) for before, after in view.stream("model", "enc.a.weight")]
    assert b"".join(before for before, _ in pairs) == whole.tobytes()
    assert b"".join(after for _, after in pairs) == whole.astype("f2").tobytes()


def test_a_box_is_read_and_cast(opened):
    view = select(opened, components=["model"], dtypes=[("*", DType.F16)])
    box = ((3, 10), (2, 5))
    expected = np.frombuffer(opened.read("model", "enc.a.weight"), "f4").reshape(20, 100)[3:5, 10:15].astype("f2")
    assert bytes(view.read("model", "enc.a.weight", box=box)) == expected.tobytes()
    out = memoryview(bytearray(20))
    view.read("model", "enc.a.weight", box=box, out=out)
    assert bytes(out) == expected.tobytes()


def test_a_value_too_large_for_its_new_type_names_the_tensor(tmp_path):
    save({"w": np.array([1e6], "f4")}, str(tmp_path / "m.safetensors"))
    view = select(ckpt_core.load(str(tmp_path / "m.safetensors")), dtypes=[("*", DType.F16)])
    with pytest.raises(LoadError, match="w: 1 finite values are too large for F16") as caught:
        view.read("model", "w")
    assert (caught.value.code, caught.value.tensor) == ("CA001", "w")
