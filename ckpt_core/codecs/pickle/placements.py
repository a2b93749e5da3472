"""Computes the indexes of a dimension that a rank holds.

The dimension was cut for the dimensions of a mesh, by the rules of DTensor.

Source: torch, `torch/distributed/tensor/placement_types.py` (Shard._custom_chunk, _StridedShard._split_tensor).
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

Interval = tuple[int, int]
"""First index and length."""


class Split(NamedTuple):
    """A cut into chunks of which one is kept.

    `factor` is of strided shards, else 1.
    """

    chunks: int
    kept: int
    factor: int = 1


def split_evenly(size: int, splits: Sequence[Split], *, most: int) -> list[Interval]:
    """Return the intervals of a dimension left after its splits.

    They come in the order in which the local tensor has them. A dimension is cut into chunks of its size divided by
    their number, rounded up: the last ones may be shorter, or empty. A strided split first makes `factor` chunks, then
    cuts each, and puts the kept parts together.

    Raises:
        ValueError: A split keeps a chunk that is not there, or makes more than `most` intervals.
    """
    left: list[Interval] = [(0, size)]
    for split in splits:
        if split.kept >= split.chunks or not 0 < split.factor <= most or len(left) > most:
            raise ValueError(f"chunk {split.kept} of {split.chunks}, by {split.factor}")
        left = _split(left, split)
    return left


def _split(intervals: list[Interval], split: Split) -> list[Interval]:
    starts = [0, *accumulate(length for _, length in intervals)]
    kept: list[Interval] = []
    for start, length in _chunks(starts[-1], split.factor):
        step = -(-length // split.chunks)
        begin, end = start + min(step * split.kept, length), start + min(step * (split.kept + 1), length)
        kept += _taken(intervals, starts, begin, end)
    return _joined(kept) or [(sum(intervals[-1]), 0)]


def _chunks(total: int, count: int) -> list[Interval]:
    step = -(-total // count)
    return [(start, min(step, total - start)) for start in range(0, total, step)] if step else []


def _taken(intervals: list[Interval], starts: list[int], begin: int, end: int) -> Iterator[Interval]:
    """Yield the parts of intervals between two positions.

    The intervals are put one after the other; they start at `starts`.
    """
    number = max(bisect_right(starts, begin) - 1, 0)
    while begin < end and number < len(intervals):
        first, length = intervals[number]
        skipped = begin - starts[number]
        taken = min(length - skipped, end - begin)
        yield first + skipped, taken
        begin += taken
        number += 1


def _joined(intervals: list[Interval]) -> list[Interval]:
    """Join intervals that follow each other without a gap."""
    joined: list[Interval] = []
    for first, length in intervals:
        if joined and sum(joined[-1]) == first:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        else:
            joined.append((first, length))
    return joined
