"""Finds the parts of a tensor that no box covers.

It also writes a part as numpy does: `[5:10, 0:4]`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import prod

from ckpt_core.schema.tensors import Box


def uncovered(shape: tuple[int, ...], boxes: Iterable[Box]) -> list[Box]:
    """Return the boxes of a shape that nothing stores.

    They come in row-major order, and together are all that no stored box reaches.

    Args:
        shape: Of the tensor, in elements.
        boxes: Its stored boxes, inside of the shape; they may overlap.
    """
    if not prod(shape):
        return []
    return list(_holes(shape, [box for box in boxes if prod(box[1])], 0))


def _holes(shape: tuple[int, ...], boxes: Sequence[Box], axis: int) -> Iterator[Box]:
    if not boxes:
        rest = shape[axis:]
        yield (0,) * len(rest), rest
        return
    if axis == len(shape):
        return
    edges = {0, shape[axis]}
    for offsets, sizes in boxes:
        edges |= {offsets[axis], offsets[axis] + sizes[axis]}
    for start, stop in pairwise(sorted(edges)):
        across = [box for box in boxes if box[0][axis] <= start and stop <= box[0][axis] + box[1][axis]]
        for offsets, sizes in _holes(shape, across, axis + 1):
            yield (start, *offsets), (stop - start, *sizes)


def shown(box: Box) -> str:
    """Return a box as a subscript.

    `()` is the one element of a scalar.
    """
    offsets, sizes = box
    if not sizes:
        return "()"
    return f"[{', '.join(f'{start}:{start + size}' for start, size in zip(offsets, sizes, strict=True))}]"
