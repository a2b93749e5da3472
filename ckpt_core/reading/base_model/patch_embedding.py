"""Rearranges patch embeddings between a convolution and a linear map.

They are the same weights in another order.

A convolution over patches has shape (out, channels, height, width). A linear map over flattened patches has (out,
height * width * channels), a patch being flattened row by row with its channels last: the convolution permuted by (0,
2, 3, 1), then reshaped. A reshape alone has that shape too, and other weights. Source: BAGEL
`modeling/bagel/siglip_navit.py` (convert_conv2d_to_linear).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from ckpt_core import knobs
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import Box, TensorEntry, TensorInfo

TO_LINEAR = "conv2d to linear"
TO_CONV = "linear to conv2d"


@dataclass(frozen=True, slots=True)
class Rearrangement:
    """A change of a tensor from shape `source` to `target`.

    It works row by row of the first dimension.
    """

    operation: str
    source: tuple[int, ...]
    target: tuple[int, ...]

    def apply(self, data: memoryview, dtype: DType) -> memoryview:
        """Return the bytes of some rows, rearranged."""
        import numpy as np

        moved: Any
        rows: Any = np.frombuffer(data, dtype=f"V{dtype.itemsize}")
        if self.operation == TO_LINEAR:
            moved = rows.reshape(-1, *self.source[1:]).transpose(0, 2, 3, 1)
        else:
            channels, height, width = self.target[1:]
            moved = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        moved = np.ascontiguousarray(moved).reshape(-1)
        return memoryview(moved.view("u1")) if rows.size else memoryview(b"")


def rearrangement(stored: TensorInfo | TensorEntry, wanted: tuple[int, ...]) -> Rearrangement | None:
    """Return the rearrangement of a tensor to a wanted shape.

    None where that is no matter of order. The ranks decide, 4 to 2 or 2 to 4, and the sizes must agree: what has the
    wanted rank already is left as it is.
    """
    shape = stored.shape
    if not stored.dtype.itemsize or {len(shape), len(wanted)} != {2, 4} or shape[0] != wanted[0]:
        return None
    if prod(shape[1:]) != prod(wanted[1:]):
        return None
    return Rearrangement(TO_LINEAR if len(shape) == 4 else TO_CONV, shape, wanted)


def stream_rearranged(
    checkpoint: Checkpoint, component: str, name: str, how: Rearrangement
) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield a tensor in slabs of whole rows.

    Each as it was read, and rearranged.
    """
    dtype = checkpoint.component(component).tensors.info(name).dtype
    for start, count in _row_slabs(how.source, dtype):
        box = ((start, *(0 for _ in how.source[1:])), (count, *how.source[1:]))
        read = checkpoint.read(component, name, box=box)
        yield read, how.apply(read, dtype)


def read_rearranged(
    checkpoint: Checkpoint, component: str, name: str, how: Rearrangement, box: Box, out: memoryview
) -> None:
    """Fill `out` with a box of a rearranged tensor.

    Read in slabs of whole rows.
    """
    import numpy as np

    dtype = checkpoint.component(component).tensors.info(name).dtype
    (first, *offsets), (rows, *sizes) = box
    part = tuple(slice(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True))
    at = 0
    for start, count in _row_slabs((rows, *how.source[1:]), dtype):
        whole = ((first + start, *(0 for _ in how.source[1:])), (count, *how.source[1:]))
        moved = how.apply(checkpoint.read(component, name, box=whole), dtype)
        shaped: Any = np.frombuffer(moved, dtype=f"V{dtype.itemsize}").reshape(count, *how.target[1:])[:, *part]
        data: Any = np.ascontiguousarray(shaped).reshape(-1).view("u1")
        out[at : at + data.size] = memoryview(data)
        at += data.size


def _row_slabs(shape: tuple[int, ...], dtype: DType) -> Iterator[tuple[int, int]]:
    """Yield the first row and row count of each slab.

    A slab has about a slab's bytes, and one row at least.
    """
    rows = max(knobs.slab_bytes() // max(dtype.nbytes(prod(shape[1:])), 1), 1)
    for start in range(0, shape[0] if prod(shape) else 0, rows):
        yield start, min(rows, shape[0] - start)
