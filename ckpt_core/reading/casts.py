"""Casts between floating types of 16 bits and more, without torch, to the value that torch's `.to` gives.

To BF16: the nearest value of F32's upper half, ties to even. F64 goes to both types of 16 bits through F32, as in
torch.
"""

from typing import Any

import numpy as np

from ckpt_core.errors import LoadError, UsageError
from ckpt_core.reading.values import NonFinite, as_numbers, numpy_name
from ckpt_core.schema.dtypes import DType

CASTABLE = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})


def cast(data: memoryview, source: DType, target: DType) -> memoryview:
    """The elements in another type.

    Raises:
        LoadError: A finite value is too large for the target type.
    """
    numbers = as_numbers(data, source)
    with np.errstate(over="ignore", invalid="ignore"):
        if target is DType.BF16:
            result = _to_bf16(numbers.astype("<f4", copy=False))
        elif target is DType.F16:
            result = numbers.astype("<f4", copy=False).astype("<f2")
        else:
            result = numbers.astype(numpy_name(target))
    _refuse_overflow(data, source, result, target)
    return memoryview(result).cast("B") if result.size else memoryview(b"")


def check_castable(target: DType) -> None:
    """UsageError where a type is not one that tensors are cast to."""
    if target not in CASTABLE:
        known = ", ".join(sorted(dtype.code for dtype in CASTABLE))
        raise UsageError(f"{target.code}: tensors are cast to {known} only")


def _to_bf16(numbers: Any) -> Any:
    bits = numbers.view("<u4")
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    nan = (bits & 0x7FFF_FFFF) > 0x7F80_0000
    if nan.any():
        rounded[nan] = 0x7FC0
    return rounded


def _refuse_overflow(data: memoryview, source: DType, result: Any, target: DType) -> None:
    after = NonFinite(target)
    after.update(memoryview(result).cast("B") if result.size else memoryview(b""))
    if not after.inf:
        return
    before = NonFinite(source)
    before.update(data)
    if after.inf > before.inf:
        raise LoadError(
            f"{after.inf - before.inf} finite values are too large for {target.code}; keep the type of this tensor, "
            "or cast to BF16",
            code="CA001",
        )
