"""The tensors of a state tree: named in its order wherever they are, and renamed without touching anything else."""

import pytest

from ckpt_core import Opaque, TensorRef, tensor_names, with_names

TREE = {
    "state": {0: {"step": TensorRef("a"), "lr": 0.1}, "two": [TensorRef("b"), (TensorRef("c"), None)]},
    "odd": Opaque("x.Y", (TensorRef("d"), 1), {"inner": TensorRef("e")}),
    "again": TensorRef("a"),
}


def test_names_come_in_the_order_of_the_tree():
    assert list(tensor_names(TREE)) == ["a", "b", "c", "d", "e", "a"]
    assert list(tensor_names({"plain": [1, "text", None]})) == []


def test_renaming_changes_names_and_nothing_else():
    there = {name: name.upper() for name in "abcde"}
    moved = with_names(TREE, there)
    assert list(tensor_names(moved)) == ["A", "B", "C", "D", "E", "A"]
    assert with_names(moved, {new: old for old, new in there.items()}) == TREE


def test_a_name_that_is_not_given_is_an_error():
    with pytest.raises(KeyError):
        with_names(TREE, {"a": "A"})
