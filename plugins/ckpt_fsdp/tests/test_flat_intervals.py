"""A flat interval of a tensor is few boxes, which hold its elements in their order."""

from math import prod

import pytest
from ckpt_fsdp.flat_intervals import boxes_of_interval, chunks_of_interval
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import DType

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@st.composite
def intervals(draw):
    shape = draw(SHAPES)
    start = draw(st.integers(0, prod(shape)))
    return shape, start, draw(st.integers(start, prod(shape)))


def elements(shape, box):
    """The flat numbers of a box's elements, in its own row-major order."""
    numbers = [0]
    for size, offset, count in zip(shape, *box, strict=True):
        numbers = [number * size + offset + step for number in numbers for step in range(count)]
    return numbers


@given(intervals())
def test_the_boxes_are_the_interval_in_its_order(case):
    shape, start, stop = case
    found = [number for box in boxes_of_interval(shape, start, stop) for number in elements(shape, box)]
    assert found == list(range(start, stop))


@given(intervals())
def test_there_are_at_most_two_boxes_a_dimension_less_one(case):
    shape, start, stop = case
    assert len(boxes_of_interval(shape, start, stop)) <= max(2 * len(shape) - 1, 1)


@given(SHAPES.filter(all))
def test_a_whole_tensor_is_one_box(shape):
    assert boxes_of_interval(shape, 0, prod(shape)) == [((0,) * len(shape), shape)]


@given(intervals())
def test_chunks_follow_each_other_in_the_file(case):
    shape, start, stop = case
    position = 100
    for chunk in chunks_of_interval(shape, start, stop, dtype=DType.F32, path="x", offset=100, owner=3):
        assert (chunk.stored.offset, chunk.stored.path, chunk.owner) == (position, "x", 3)
        assert chunk.stored.length == 4 * prod(chunk.sizes)
        position = chunk.stored.end
    assert position == 100 + 4 * (stop - start)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 7)])
def test_an_interval_outside_of_the_tensor_is_refused(start, stop):
    with pytest.raises(ValueError, match=r"elements -?\d+ to \d+ of shape \(2, 3\)"):
        boxes_of_interval((2, 3), start, stop)
