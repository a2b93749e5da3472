"""A checkpoint's names and shapes held against a base's: everything is accounted for, and nothing is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.reading.base_model.fit import fit
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.tensors import TensorEntry, TensorTable

NAMES = st.lists(st.sampled_from(["layers", "0", "mlp", "w", "b"]), min_size=1, max_size=4).map(".".join)
SHAPES = st.sampled_from([(2,), (2, 3), (2, 12), (2, 3, 2, 2)])


def component(tensors, kind="model", aliases=None):
    """Of names with shapes, or with (type, shape)."""
    entries = {}
    for name, what in tensors.items():
        dtype, shape = what if isinstance(what[0], DType) else (DType.F32, what)
        entries[name] = TensorEntry(dtype, tuple(shape), (), (aliases or {}).get(name))
    return Component(kind, TensorTable.of(entries))


def test_what_is_equal_fits_whatever_its_floating_type():
    base = component({"a": (DType.BF16, (2, 3)), "b": (DType.BF16, (3,))})
    found = fit(component({"b": (3,), "a": (2, 3)}), base)
    assert (found.fits and list(found.matched) == ["b", "a"]) or list(found.matched) == ["a", "b"]
    assert not found.rearranged and not found.taken and not found.left_out and not found.stripped


def test_missing_extra_and_mismatched_are_told_apart():
    base = component({"a": (2, 3), "b": (3,), "c": (4,), "d": (DType.I64, (1,))})
    found = fit(component({"a": (3, 2), "x": (1,), "c": (4,), "d": (1,)}), base)
    assert (found.missing, found.extra, set(found.mismatched)) == (("b",), ("x",), {"a", "d"})
    assert found.mismatched["a"].shapes == ((3, 2), (2, 3))
    assert found.mismatched["d"].dtypes == (DType.F32, DType.I64)
    assert not found.fits


def test_another_rank_is_another_order_only_where_the_sizes_agree():
    base = component({"conv": (8, 48), "linear": (8, 3, 4, 4), "other": (8, 47)})
    found = fit(component({"conv": (8, 3, 4, 4), "linear": (8, 48), "other": (8, 3, 4, 4)}), base)
    assert {name: how.operation for name, how in found.rearranged.items()} == {
        "conv": "conv2d to linear",
        "linear": "linear to conv2d",
    }
    assert set(found.mismatched) == {"other"}


def test_optional_tensors_may_be_on_either_side_or_on_both():
    base = component({"a": (2,), "table.x": (4,), "table.y": (4,)})
    found = fit(component({"a": (2,), "table.y": (4,), "table.z": (4,)}), base, optional=["table.*"])
    assert found.fits and (found.taken, found.left_out) == (("table.x",), ("table.z",))
    assert not fit(component({"a": (2,), "table.y": (5,)}), base, optional=["table.*"]).fits


def test_an_optional_name_is_known_under_its_wrappers_too():
    found = fit(component({"module.a": (2,), "module.table": (4,)}), component({"a": (2,)}), optional=["table"])
    assert found.fits and found.left_out == ("module.table",)


def test_a_leading_model_is_taken_off_only_where_the_base_has_none():
    found = fit(component({"model.a": (2,), "model.b": (3,)}), component({"a": (2,), "b": (3,)}))
    assert found.fits and found.stripped == {"model": 2}
    rooted = component({"model.a": (2,), "head": (3,)})
    assert fit(component({"model.a": (2,), "head": (3,)}), rooted).stripped == {}
    found = fit(component({"model.model.a": (2,), "model.head": (3,)}), rooted)
    assert found.fits and found.stripped == {"model": 2}


def test_a_leading_model_stays_where_not_every_name_has_it():
    found = fit(component({"model.a": (2,), "b": (3,)}), component({"a": (2,), "b": (3,)}))
    assert (found.missing, found.extra) == (("a",), ("model.a",))


@pytest.mark.parametrize("first", ["embed", "head"])
def test_a_second_name_of_a_tensor_that_has_its_place_may_go(first):
    second = {"embed": "head", "head": "embed"}[first]
    stored = component({"embed": (2, 3), "head": (2, 3)}, aliases={second: first})
    found = fit(stored, component({"embed": (2, 3)}))
    assert found.fits and found.left_out == ("head",)


def test_what_only_looks_tied_is_extra():
    assert fit(component({"embed": (2, 3), "head": (2, 3)}), component({"embed": (2, 3)})).extra == ("head",)


def test_a_name_that_the_base_stores_as_another_need_not_be_stored():
    base = component({"embed": (2, 3), "head": (2, 3)}, aliases={"head": "embed"})
    found = fit(component({"embed": (2, 3)}), base)
    assert found.fits and found.tied == {"head": "embed"}


@given(st.dictionaries(NAMES, SHAPES), st.dictionaries(NAMES, SHAPES), st.lists(NAMES, max_size=2))
def test_every_name_of_both_is_accounted_for_once(stored, base, optional):
    found = fit(component(stored), component(base), optional=optional)
    assert sorted([*found.matched, *found.taken, *found.tied, *found.missing]) == sorted(base)
    assert sorted([*found.matched.values(), *found.left_out, *found.extra]) == sorted(stored)
    assert set(found.rearranged).isdisjoint(found.mismatched)
    assert {*found.rearranged, *found.mismatched} <= set(found.matched)


@given(
    st.dictionaries(NAMES, SHAPES, min_size=1), st.sampled_from(["module.", "_orig_mod.", "model.", "module.model."])
)
def test_a_prefix_before_every_name_changes_nothing_else(tensors, prefix):
    base = component(tensors)
    found = fit(component({prefix + name: shape for name, shape in tensors.items()}), base)
    assert found.fits and found.matched == {name: prefix + name for name in tensors}
