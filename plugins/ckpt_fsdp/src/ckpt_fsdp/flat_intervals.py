"""Boxes of a flat interval of a tensor.

Flat parameters and ZeRO partitions have such pieces of flattened tensors.
"""

from collections.abc import Iterator
from math import prod

from ckpt_core import ByteRange, Chunk, DType

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes of a part of a tensor, in elements, one of each a dimension."""


def boxes_of_interval(shape: tuple[int, ...], start: int, stop: int) -> list[Box]:
    """Return the boxes of elements `start` to `stop`.

    The tensor is row-major, and the boxes come in their order in memory.

    There are at most 2·ndim - 1 of them, disjoint, each contiguous; one box where the interval is whole rows. An empty
    interval has none.

    Raises:
        ValueError: The interval leaves the tensor.
    """
    if not 0 <= start <= stop <= prod(shape):
        raise ValueError(f"elements {start} to {stop} of shape {shape}")
    return list(_boxes(shape, start, stop))


def chunks_of_interval(
    shape: tuple[int, ...], start: int, stop: int, *, dtype: DType, path: str, offset: int, owner: int | None = None
) -> list[Chunk]:
    """Return the chunks of a flat interval stored together.

    It is stored in one piece.

    Args:
        shape: The tensor's shape.
        start: The interval's first element.
        stop: The element behind its last.
        dtype: The element type, of whole bytes.
        path: The file that holds it.
        offset: Byte of the file at which element `start` lies.
        owner: The rank that wrote it.
    """
    chunks = []
    for offsets, sizes in boxes_of_interval(shape, start, stop):
        length = dtype.nbytes(prod(sizes))
        chunks.append(Chunk(offsets, sizes, ByteRange(path, offset, length), owner=owner))
        offset += length
    return chunks


def _boxes(shape: tuple[int, ...], start: int, stop: int) -> Iterator[Box]:
    if start == stop:
        return
    if not shape:
        yield (), ()
        return
    inner = prod(shape[1:])
    (first, head), (last, tail) = divmod(start, inner), divmod(stop, inner)
    if first == last:
        yield from _in_row(first, shape, head, tail)
        return
    if head:
        yield from _in_row(first, shape, head, inner)
        first += 1
    if first < last:
        yield (first, *(0 for _ in shape[1:])), (last - first, *shape[1:])
    yield from _in_row(last, shape, 0, tail)


def _in_row(row: int, shape: tuple[int, ...], start: int, stop: int) -> Iterator[Box]:
    for offsets, sizes in _boxes(shape[1:], start, stop):
        yield (row, *offsets), (1, *sizes)
