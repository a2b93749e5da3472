"""Compares two tensors in slabs.

Their bytes are equal, or their values differ by so much.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.slabs import slabs
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import Box, TensorEntry

_ELEMENTS = 1 << 17
"""Elements compared at once: a few arrays of doubles of it stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two tensors."""

    checkpoint: StoredCheckpoint
    component: str
    name: str
    entry: TensorEntry

    def read(self, box: Box, elements: int) -> memoryview:
        out = memoryview(bytearray(self.entry.dtype.nbytes(elements)))
        return self.checkpoint.read(self.component, self.name, box=box, out=out)


@dataclass(frozen=True, slots=True)
class Difference:
    """The distance of two tensors of one shape.

    Attributes:
        max_abs: Greatest absolute difference of two elements; NaN against a number counts as infinite.
        max_rel: Greatest of |a-b| / max(|a|, |b|).
        cosine: Cosine of the angle between them as vectors; None where one of them is zero.
        elements: How many elements differ.
    """

    max_abs: float
    max_rel: float
    cosine: float | None
    elements: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "max_abs": self.max_abs,
            "max_rel": self.max_rel,
            "cosine": self.cosine,
            "elements": self.elements,
        }


def compare(first: Side, second: Side) -> Difference | None:
    """Return the difference of two tensors; None if equal.

    The two have one shape; equal means the same dtype and every byte the same. Tensors that are the same are read once;
    those that differ once more, for the numbers.
    """
    if first.entry.dtype is second.entry.dtype and all(bytes(a) == bytes(b) for a, b in _slabs(first, second)):
        return None
    sums = _Sums()
    for one, other in _slabs(first, second):
        sums.add(one, first.entry.dtype, other, second.entry.dtype)
    return sums.result()


def _slabs(first: Side, second: Side) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield the same elements of both, slab by slab."""
    wider = max(first.entry.dtype, second.entry.dtype, key=lambda dtype: dtype.bits)
    for box in slabs(first.entry.shape, wider, limit=_ELEMENTS * max(wider.itemsize, 1)):
        elements = prod(box[1])
        if elements:
            yield first.read(box, elements), second.read(box, elements)


class _Sums:
    def __init__(self) -> None:
        self.max_abs = self.max_rel = self.dot = self.norm_one = self.norm_other = 0.0
        self.elements = 0

    def add(self, one: memoryview, dtype: DType, other: memoryview, other_dtype: DType) -> None:
        import numpy as np

        from ckpt_core.reading.values import as_numbers

        kind = np.complex128 if dtype.is_complex or other_dtype.is_complex else np.float64
        a = as_numbers(one, dtype).astype(kind)
        b = as_numbers(other, other_dtype).astype(kind)
        with np.errstate(all="ignore"):
            self.dot += float(np.nan_to_num(np.vdot(a, b).real))
            self.norm_one += float(np.nan_to_num(np.vdot(a, a).real))
            self.norm_other += float(np.nan_to_num(np.vdot(b, b).real))
            differs = (a != b) & ~(np.isnan(a) & np.isnan(b))
            self.elements += int(np.count_nonzero(differs))
            gap = np.abs(np.where(differs, a - b, 0))
            gap[np.isnan(gap)] = np.inf
            scale = np.maximum(np.abs(a), np.abs(b))
            relative = np.where(gap > 0, gap / np.where(scale > 0, scale, 1), 0)
            relative[np.isnan(relative)] = np.inf
        self.max_abs = max(self.max_abs, float(gap.max(initial=0)))
        self.max_rel = max(self.max_rel, float(relative.max(initial=0)))

    def result(self) -> Difference:
        scale = sqrt(self.norm_one) * sqrt(self.norm_other)
        cosine = max(-1.0, min(1.0, self.dot / scale)) if scale else None
        return Difference(self.max_abs, self.max_rel, cosine, self.elements)
