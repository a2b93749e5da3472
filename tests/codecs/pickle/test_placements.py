"""Cuts of a dimension by the ranks of a mesh keep every index for one rank."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.codecs.pickle.placements import Split, split_evenly

counts = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=3)


def indexes(intervals):
    return [index for first, length in intervals for index in range(first, first + length)]


@given(st.integers(0, 40), counts)
def test_every_index_is_kept_by_one_rank(size, cuts):
    kept = []
    places = [[]]
    for count, _ in cuts:
        places = [[*place, index] for place in places for index in range(count)]
    for place in places:
        splits = [Split(count, index, factor) for (count, factor), index in zip(cuts, place, strict=True)]
        kept += indexes(split_evenly(size, splits, most=1000))
    assert sorted(kept) == list(range(size))


@pytest.mark.parametrize(
    ("size", "splits", "expected"),
    [
        (10, [], [(0, 10)]),
        (10, [Split(4, 1)], [(3, 3)]),
        (10, [Split(4, 3)], [(9, 1)]),
        (5, [Split(4, 3)], [(5, 0)]),
        (8, [Split(2, 1, 2)], [(2, 2), (6, 2)]),
        (8, [Split(2, 1, 2), Split(2, 1)], [(6, 2)]),
        (8, [Split(1, 0, 4)], [(0, 8)]),
        (0, [Split(2, 1)], [(0, 0)]),
    ],
)
def test_chunks_are_the_size_divided_and_rounded_up(size, splits, expected):
    assert split_evenly(size, splits, most=1000) == expected


@pytest.mark.parametrize("split", [Split(2, 2), Split(2, 0, 0), Split(2, 0, 1001)])
def test_cuts_that_cannot_be_are_refused(split):
    with pytest.raises(ValueError, match="chunk"):
        split_evenly(8, [split], most=1000)


def test_many_interleaved_cuts_take_no_long_time():
    began = time.process_time()
    split_evenly(1 << 60, [Split(3, 1, 1000)] * 3, most=1000)
    assert time.process_time() - began < 10
