"""Holes between boxes: exactly the elements that no box reaches."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.reading.gaps import shown, uncovered


@pytest.mark.parametrize(
    ("shape", "boxes", "holes"),
    [
        ((4, 2), [((0, 0), (1, 2)), ((2, 0), (2, 2))], [((1, 0), (1, 2))]),
        ((4, 2), [((0, 0), (4, 1))], [((0, 1), (4, 1))]),
        ((4, 4), [((0, 0), (2, 2)), ((2, 2), (2, 2))], [((0, 2), (2, 2)), ((2, 0), (2, 2))]),
        ((3,), [], [((0,), (3,))]),
        ((), [], [((), ())]),
        ((), [((), ())], []),
        ((0, 3), [], []),
        ((3,), [((0,), (3,)), ((3,), (0,))], []),
    ],
)
def test_holes_are_found_in_order(shape, boxes, holes):
    assert uncovered(shape, boxes) == holes


def test_a_part_is_written_as_a_subscript():
    assert shown(((5, 0), (5, 4))) == "[5:10, 0:4]"
    assert shown(((), ())) == "()"


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    corners=st.lists(st.tuples(*[st.integers(0, 3)] * 4), max_size=4),
)
def test_holes_are_exactly_what_is_lacking_and_each_element_once(shape, corners):
    boxes = []
    for row, column, height, width in corners:
        start = (min(row, shape[0] - 1), min(column, shape[1] - 1))
        boxes.append((start, (min(height, shape[0] - start[0]), min(width, shape[1] - start[1]))))
    covered = {element for box in boxes for element in _elements(box)}
    found = [element for hole in uncovered(shape, boxes) for element in _elements(hole)]
    assert sorted(found) == sorted(set(_elements(((0, 0), shape))) - covered)


def _elements(box):
    return list(itertools.product(*(range(start, start + size) for start, size in zip(*box, strict=True))))
