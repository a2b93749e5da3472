"""Wrapper names are taken off where that makes a pair, and what is left over is said."""

from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.reading.base_model.wrapper_names import match_names, strip_wrappers

WRAPPERS = st.sampled_from(["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
NAMES = st.lists(st.sampled_from(["layers", "0", "mlp", "w", "b"]), min_size=1, max_size=4).map(".".join)


def test_stacks_are_taken_off_wherever_the_wrappers_put_them():
    assert strip_wrappers("module._orig_mod.module.a.b")[0] == "a.b"
    assert (
        strip_wrappers("_fsdp_wrapped_module.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.w")[0]
        == "layers.0.w"
    )


def test_a_submodule_called_module_inside_a_name_is_kept():
    assert strip_wrappers("encoder.module.w") == ("encoder.module.w", [])


def test_equal_names_are_paired_before_anything_is_stripped():
    found = match_names(["module.w", "w"], ["w", "module.w"])
    assert found.pairs == {"module.w": "module.w", "w": "w"} and not found.stripped


def test_wrapped_targets_meet_plain_names():
    found = match_names(["_orig_mod.w"], ["w"])
    assert found.pairs == {"_orig_mod.w": "w"} and found.stripped == {"_orig_mod": 1}


def test_what_has_no_partner_is_missing_or_unexpected():
    found = match_names(["a", "b"], ["b", "c"])
    assert (found.missing, found.unexpected) == (["a"], ["c"])


@given(st.sets(NAMES, min_size=1), st.lists(WRAPPERS, min_size=1, max_size=3))
def test_any_leading_stack_is_undone(names, stack):
    prefix = ".".join(stack) + "."
    found = match_names(names, [prefix + name for name in names])
    assert found.pairs == {name: prefix + name for name in names}
    assert not found.missing and not found.unexpected


@given(st.sets(NAMES), st.sets(NAMES))
def test_every_name_is_accounted_for_once(targets, stored):
    found = match_names(targets, stored)
    assert set(found.pairs) | set(found.missing) == targets and not set(found.pairs) & set(found.missing)
    used = list(found.pairs.values())
    assert len(set(used)) == len(used) and set(used) | set(found.unexpected) == stored
