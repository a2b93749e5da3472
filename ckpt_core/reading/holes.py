"""Where boxes leave a hole in a tensor, and how a part of a tensor is written: `[5:10, :]`, as numpy writes it."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from ckpt_core.schema.tensors import Box


def first_hole(shape: tuple[int, ...], boxes: Sequence[Box]) -> Box | None:
    """The first box of a shape, in row-major order, that no stored box reaches into; None where they cover it.

    Args:
        shape: Of the tensor, in elements.
        boxes: Its stored boxes, inside of the shape; they may overlap.
    """
    if not prod(shape):
        return None
    return _hole(shape, [box for box in boxes if prod(box[1])], 0)


def _hole(shape: tuple[int, ...], boxes: Sequence[Box], axis: int) -> Box | None:
    if not boxes:
        rest = shape[axis:]
        return (0,) * len(rest), rest
    if axis == len(shape):
        return None
    edges = {0, shape[axis]}
    for offsets, sizes in boxes:
        edges |= {offsets[axis], offsets[axis] + sizes[axis]}
    for start, stop in pairwise(sorted(edges)):
        across = [box for box in boxes if box[0][axis] <= start and stop <= box[0][axis] + box[1][axis]]
        found = _hole(shape, across, axis + 1)
        if found is not None:
            return (start, *found[0]), (stop - start, *found[1])
    return None


def shown(box: Box, shape: tuple[int, ...]) -> str:
    """A part of a tensor as a subscript; "" for all of it."""
    offsets, sizes = box
    if sizes == shape:
        return ""
    ranges = zip(offsets, sizes, shape, strict=True)
    return f"[{', '.join(':' if size == whole else f'{start}:{start + size}' for start, size, whole in ranges)}]"
