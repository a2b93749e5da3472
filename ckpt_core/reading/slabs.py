"""Boxes of bounded size that together make up a tensor."""

from collections.abc import Iterator
from itertools import product
from math import prod

from ckpt_core import knobs
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import Box


def slabs(shape: tuple[int, ...], dtype: DType, *, limit: int | None = None) -> Iterator[Box]:
    """Yield boxes of bounded size that cover a shape.

    They follow each other in row-major order; each has at most `limit` bytes or one element. They make any walk over a
    tensor's elements bounded in memory, whatever its shape.
    """
    most = max((limit or knobs.slab_bytes()) * 8 // dtype.bits, 1)
    if prod(shape) <= most or not dtype.itemsize:
        yield (0,) * len(shape), shape
        return
    split = 0
    while prod(shape[split + 1 :]) > most:
        split += 1
    rows = max(most // prod(shape[split + 1 :]), 1)
    tail = shape[split + 1 :]
    for index in product(*(range(size) for size in shape[:split])):
        for start in range(0, shape[split], rows):
            count = min(rows, shape[split] - start)
            yield (*index, start, *(0 for _ in tail)), (*(1 for _ in index), count, *tail)
