"""Converts bytes of elements to numbers and back, without torch.

A plugin that computes tensors needs it. As everywhere here: row-major, little-endian; rounding is to the nearest, ties
to even, and what gets too large is an error.
"""

from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UsageError
from ckpt_core.schema.dtypes import DType

if TYPE_CHECKING:
    import numpy as np

COMPUTABLE = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})
"""Floating types that `wide_numbers` and `narrow_bytes` take."""


def wide_numbers(data: memoryview, dtype: DType) -> "np.ndarray[Any, np.dtype[np.floating[Any]]]":
    """Return the elements as numbers of F64 or F32.

    F64 for F64, F32 for all other types; they are computed with in that type. The array may share memory with `data`.

    Raises:
        UsageError: The type is not floating, or of less than 16 bits.
    """
    import numpy as np

    from ckpt_core.reading.values import as_numbers

    _check(dtype)
    numbers = as_numbers(data, dtype)
    return np.asarray(numbers if dtype is DType.F64 else numbers.astype("<f4", copy=False))


def narrow_bytes(numbers: "np.ndarray[Any, np.dtype[np.floating[Any]]]", dtype: DType) -> memoryview:
    """Return numbers as the bytes of elements of a type.

    The numbers are of the type that `wide_numbers` returns.

    Raises:
        LoadError: A finite number is too large for the type.
        UsageError: As for `wide_numbers`.
    """
    import numpy as np

    from ckpt_core.reading.casting.conversions import cast

    _check(dtype)
    flat: Any = np.ascontiguousarray(numbers).reshape(-1)
    data = memoryview(flat).cast("B") if flat.size else memoryview(b"")
    return cast(data, DType.F64 if flat.dtype == np.float64 else DType.F32, dtype)


def _check(dtype: DType) -> None:
    if dtype not in COMPUTABLE:
        raise UsageError(f"{dtype.code}: only floating types of 16 bits and more are computed with")
