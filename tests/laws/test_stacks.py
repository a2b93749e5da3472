"""Stacks of numbered names are found alike in whatever order the names come."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.laws.tensor_infos import stacks

PARTS = st.sampled_from(["layers", "experts", "w", "0", "1", "12", "weight", "1a", ""])
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=6).map(".".join), unique=True, max_size=20)


def each_by_itself(names):
    """Every number between dots, with what stands before and behind it."""
    found = {}
    for name in names:
        for number in re.finditer(r"(?:^|\.)(\d{1,9})\.", name):
            before = name[: number.start(1)].removesuffix(".")
            found.setdefault(before, {}).setdefault(int(number[1]), set()).add(name[number.end() :])
    return found


@given(NAMES)
def test_the_stacks_of_names_are_those_of_each_name(names):
    for order in (names, sorted(names), sorted(names, reverse=True)):
        assert {prefix: stack.blocks for prefix, stack in stacks(order).items()} == each_by_itself(names)


def test_blocks_with_experts_are_in_both_stacks():
    names = [f"layers.{layer}.experts.{expert}.w.weight" for layer in range(2) for expert in range(3)]
    found = stacks([*names, "layers.1.norm.weight"])
    assert found["layers"].blocks[1] == {f"experts.{expert}.w.weight" for expert in range(3)} | {"norm.weight"}
    assert found["layers.1.experts"].count == 3
