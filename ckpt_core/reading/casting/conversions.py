"""Casts between floating types of at least 16 bits.

It needs no torch, and gives the value that torch's `.to` gives.

To BF16: the nearest value of F32's upper half, ties to even. F64 goes to both types of 16 bits through F32, as in
torch.
"""

from typing import Any

import numpy as np

from ckpt_core.errors import LoadError, UsageError
from ckpt_core.reading.values import NonFinite, as_numbers, numpy_name
from ckpt_core.schema.dtypes import DType

CASTABLE = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})

_PART = 1 << 16
"""Elements that are cast together: what is made of them on the way stays in the processor's cache."""

_GREATEST = {DType.F16: 65504.0, DType.BF16: float.fromhex("0x1.fep127"), DType.F32: float.fromhex("0x1.fffffep127")}
"""The greatest finite value of each type but the widest."""


class Cast:
    """Casts a tensor slab by slab.

    What it gives for a slab is valid until it is given the next. Memory: the result of a slab, and 512 KiB.
    """

    def __init__(self, source: DType, target: DType) -> None:
        self._source = source
        self._target = target
        self._kind = numpy_name(target) or "<u2"
        self._result: Any = np.empty(0, self._kind)
        self._bits: Any = np.empty(0, "<u4")

    def __call__(self, data: memoryview) -> memoryview:
        """Return the elements in the other type.

        Raises:
            LoadError: A finite value is too large for the target type.
        """
        width = self._source.itemsize
        count = len(data) // width
        if self._result.size < count:
            self._result = np.empty(count, self._kind)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, count, _PART):
                part = data[start * width : (start + _PART) * width]
                self._cast(part, self._result[start : min(start + _PART, count)])
        return memoryview(self._result[:count]).cast("B") if count else memoryview(b"")

    def _cast(self, data: memoryview, out: Any) -> None:
        numbers = as_numbers(data, self._source)
        safe = self._fits(numbers)
        if self._target in (DType.F16, DType.BF16):
            numbers = numbers.astype("<f4", copy=False)
        if self._target is not DType.BF16:
            np.copyto(out, numbers, casting="unsafe")
        else:
            self._round(numbers.view("<u4"), out)
            if not safe:
                out[np.isnan(numbers)] = 0x7FC0
        if not safe:
            _refuse_overflow(data, self._source, out, self._target)

    def _fits(self, numbers: Any) -> bool:
        """Return True if all values are and stay finite.

        That is the usual case, told by two passes that only read.
        """
        if self._target is DType.F64:
            return True
        greatest = _GREATEST[self._target]
        return bool(numbers.max() <= greatest and numbers.min() >= -greatest)

    def _round(self, bits: Any, out: Any) -> None:
        """Round F32 bits to their upper halves, ties to even."""
        if self._bits.size < bits.size:
            self._bits = np.empty(bits.size, "<u4")
        sums = self._bits[: bits.size]
        np.right_shift(bits, 16, out=sums)
        np.bitwise_and(sums, 1, out=sums)
        np.add(sums, 0x7FFF, out=sums)
        np.add(sums, bits, out=sums)
        np.right_shift(sums, 16, out=sums)
        np.copyto(out, sums, casting="unsafe")


def cast(data: memoryview, source: DType, target: DType) -> memoryview:
    """Return the elements in another type; raises as `Cast`."""
    return Cast(source, target)(data)


def check_castable(target: DType) -> None:
    """Raise UsageError if tensors are not cast to a type."""
    if target not in CASTABLE:
        known = ", ".join(sorted(dtype.code for dtype in CASTABLE))
        raise UsageError(f"{target.code}: tensors are cast to {known} only")


def _refuse_overflow(data: memoryview, source: DType, result: Any, target: DType) -> None:
    before, after = NonFinite(source), NonFinite(target)
    before.update(data)
    after.update(memoryview(result).cast("B"))
    if after.inf > before.inf:
        raise LoadError(
            f"{after.inf - before.inf} finite values are too large for {target.code}; keep the type of this tensor, "
            "or cast to BF16",
            code="CA001",
        )
