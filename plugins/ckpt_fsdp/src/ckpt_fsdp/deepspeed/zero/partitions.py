"""Locates parameters in the flat partitions of the ranks.

It is arithmetic alone, no file is looked at.

Stages 1 and 2 flatten a group of parameters and cut the whole into equal partitions, one a rank: a parameter is an
interval of it, and may span ranks. Stage 3 cuts each parameter for itself, and a rank's flat weights are its parts of
all of them, one after the other, each as long as on every other rank. Source: DeepSpeed, `utils/zero_to_fp32.py`
(_zero2_merge_trainable_params, _zero3_merge_trainable_params, zero3_partitioned_param_info).
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import NamedTuple

from ckpt_core import Chunk, DType, TensorEntry, TensorInfo
from ckpt_fsdp.deepspeed.fields import Shape
from ckpt_fsdp.flat_intervals import chunks_of_interval


class Vector(NamedTuple):
    """Flat elements in one piece of a file.

    `offset` is in bytes.
    """

    path: str
    offset: int
    numel: int


class Run(NamedTuple):
    """Elements `start` to `stop` of a tensor, stored together.

    They start at byte `offset` of a file, written by a rank.
    """

    start: int
    stop: int
    path: str
    offset: int
    rank: int


class Chain:
    """One rank's share of something flat.

    It is vectors that follow each other.
    """

    __slots__ = ("ends", "numel", "vectors")

    def __init__(self, vectors: Sequence[Vector]) -> None:
        self.vectors = tuple(vectors)
        self.ends = list(accumulate(vector.numel for vector in vectors))
        self.numel = self.ends[-1] if self.ends else 0

    def pieces(self, start: int, stop: int, itemsize: int) -> Iterator[tuple[int, int, str, int]]:
        """Yield the stored pieces of an interval.

        First and last element, file and byte of each, as far as it is stored.
        """
        index = bisect_right(self.ends, start)
        while start < stop and index < len(self.vectors):
            vector, end = self.vectors[index], min(stop, self.ends[index])
            skipped = start - (self.ends[index] - vector.numel)
            if start < end:
                yield start, end, vector.path, vector.offset + skipped * itemsize
            start, index = end, index + 1


@dataclass(frozen=True, slots=True)
class FlatStretch:
    """A parameter in a flat space: its shape and start.

    It begins at `at` in the whole (stages 1, 2) or on each rank (3).
    """

    shape: Shape
    at: int


@dataclass(frozen=True, slots=True)
class Space:
    """A flat space over the ranks.

    Attributes:
        dtype: Its element type.
        chains: What each rank has, by rank; None for a rank whose file is missing.
        partition: Elements of a rank's partition with its padding, for a space that is cut as a whole; None for one
            in which each parameter is cut.
    """

    dtype: DType
    chains: tuple[Chain | None, ...]
    partition: int | None

    def runs(self, place: FlatStretch) -> Iterator[Run]:
        """Yield where the elements of a parameter are stored.

        They come in their order; those that are stored nowhere are left out.
        """
        numel = prod(place.shape)
        cut, at = self.partition, place.at
        spans = self._parts(numel, at) if cut is None else self._spans(numel, at, cut)
        for rank, start, stop, position in spans:
            chain = self.chains[rank]
            if chain is not None and start < stop:
                shift = start - position
                for low, high, path, offset in chain.pieces(position, position + stop - start, self.dtype.itemsize):
                    yield Run(low + shift, high + shift, path, offset, rank)

    def _parts(self, numel: int, at: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the ranks' parts of a parameter.

        Rank, first and last element of the parameter, and where that begins in what the rank has.
        """
        part = -(-numel // len(self.chains))
        for rank in range(-(-numel // part) if part else 0):
            yield rank, rank * part, min(numel, (rank + 1) * part), at

    def _spans(self, numel: int, at: int, partition: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the ranks' parts in a space cut as a whole.

        The tuples are those of `_parts`.
        """
        if not numel or not partition:
            return
        last = min((at + numel - 1) // partition, len(self.chains) - 1)
        for rank in range(at // partition, last + 1):
            begin = max(at, rank * partition)
            end = min(at + numel, (rank + 1) * partition)
            yield rank, begin - at, end - at, begin - rank * partition

    def entry(self, place: FlatStretch) -> TensorEntry:
        """Return the table's entry of a parameter."""
        chunks: list[Chunk] = []
        for start, stop, path, offset, rank in self.runs(place):
            chunks += chunks_of_interval(
                place.shape, start, stop, dtype=self.dtype, path=path, offset=offset, owner=rank
            )
        return TensorEntry(self.dtype, place.shape, tuple(chunks))

    def info(self, place: FlatStretch) -> TensorInfo:
        """Return the table's info of a parameter.

        It has a place where one rank has all of it in one piece.
        """
        first = next(self.runs(place), None)
        if first is not None and (first.start, first.stop) == (0, prod(place.shape)):
            return TensorInfo(self.dtype, place.shape, first.path, first.offset)
        return TensorInfo(self.dtype, place.shape, None, 0)


def whole_places(shapes: dict[str, Shape], between: Sequence[int] | None) -> tuple[dict[str, FlatStretch], int]:
    """Return the places and size of a group cut whole.

    The size is in elements.

    Args:
        shapes: The parameters, in their order.
        between: Padding behind each of them; None for none.
    """
    places: dict[str, FlatStretch] = {}
    position = 0
    for index, (name, shape) in enumerate(shapes.items()):
        places[name] = FlatStretch(shape, position)
        position += prod(shape) + (between[index] if between else 0)
    return places, position


def partitioned_places(shapes: dict[str, Shape], world: int) -> tuple[dict[str, FlatStretch], int]:
    """Return the places of parameters cut one by one.

    They are cut among `world` ranks; the number is the elements each rank has.
    """
    places: dict[str, FlatStretch] = {}
    position = 0
    for name, shape in shapes.items():
        places[name] = FlatStretch(shape, position)
        position += -(-prod(shape) // world)
    return places, position
