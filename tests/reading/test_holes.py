"""The first hole between boxes: outside of all of them, before every other, and there where elements are lacking."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.reading.holes import first_hole, shown


@pytest.mark.parametrize(
    ("shape", "boxes", "hole"),
    [
        ((4, 2), [((0, 0), (1, 2)), ((2, 0), (2, 2))], ((1, 0), (1, 2))),
        ((4, 2), [((0, 0), (2, 2))], ((2, 0), (2, 2))),
        ((4, 2), [((0, 0), (4, 1))], ((0, 1), (4, 1))),
        ((4, 4), [((0, 0), (2, 2)), ((0, 2), (2, 2)), ((2, 2), (2, 2))], ((2, 0), (2, 2))),
        ((3,), [], ((0,), (3,))),
        ((), [], ((), ())),
        ((), [((), ())], None),
        ((0, 3), [], None),
        ((3,), [((0,), (3,)), ((3,), (0,))], None),
    ],
)
def test_the_first_hole_is_found(shape, boxes, hole):
    assert first_hole(shape, boxes) == hole


def test_a_part_is_written_as_a_subscript():
    assert shown(((5, 0), (5, 4)), (13, 4)) == "[5:10, :]"
    assert shown(((0, 0), (13, 4)), (13, 4)) == "" == shown(((), ()), ())


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    corners=st.lists(st.tuples(*[st.integers(0, 3)] * 4), max_size=4),
)
def test_a_hole_is_reported_exactly_where_elements_are_lacking(shape, corners):
    boxes = []
    for row, column, height, width in corners:
        start = (min(row, shape[0] - 1), min(column, shape[1] - 1))
        boxes.append((start, (min(height, shape[0] - start[0]), min(width, shape[1] - start[1]))))
    covered = {element for box in boxes for element in _elements(box)}
    lacking = sorted(set(_elements(((0, 0), shape))) - covered)
    hole = first_hole(shape, boxes)
    assert (hole is None) == (not lacking)
    if hole is not None:
        assert lacking[0] == hole[0] and covered.isdisjoint(_elements(hole))


def _elements(box):
    return list(itertools.product(*(range(start, start + size) for start, size in zip(*box, strict=True))))
