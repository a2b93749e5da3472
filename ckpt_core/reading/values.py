"""Numbers out of the bytes of each element type.

It needs no torch, and tells finite from other values and gives floats for statistics.

Bit layouts: IEEE 754 for F16, F32, F64; BF16 is the upper half of F32; the eight-bit types as in the OCP 8-bit floating
point specification, the FNUZ ones as in its AMD variant, which has one NaN (0x80) and no infinity.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.dtypes import DType

_IEEE: dict[DType, tuple[str, int, int]] = {
    DType.F16: ("<u2", 0x7FFF, 0x7C00),
    DType.BF16: ("<u2", 0x7FFF, 0x7F80),
    DType.F32: ("<u4", 0x7FFF_FFFF, 0x7F80_0000),
    DType.F64: ("<u8", 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000),
    DType.C64: ("<u4", 0x7FFF_FFFF, 0x7F80_0000),
    DType.C128: ("<u8", 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000),
    DType.F8_E5M2: ("<u1", 0x7F, 0x7C),
}
"""Of each type: its bits as an integer, the mask without the sign, the pattern of infinity; NaN is above that."""

_NAN_ONLY: dict[DType, tuple[int, int]] = {
    DType.F8_E4M3: (0x7F, 0x7F),
    DType.F8_E4M3FNUZ: (0xFF, 0x80),
    DType.F8_E5M2FNUZ: (0xFF, 0x80),
    DType.F8_E8M0: (0xFF, 0xFF),
}
"""Of each type without infinities: a mask, and the masked pattern of NaN."""

_PLAIN: dict[DType, str] = {
    DType.BOOL: "?",
    DType.U8: "u1",
    DType.I8: "i1",
    DType.U16: "<u2",
    DType.I16: "<i2",
    DType.U32: "<u4",
    DType.I32: "<i4",
    DType.U64: "<u8",
    DType.I64: "<i8",
    DType.F16: "<f2",
    DType.F32: "<f4",
    DType.F64: "<f8",
    DType.C64: "<c8",
    DType.C128: "<c16",
}
"""Numpy's name of each type that it has."""


class NonFinite:
    """Counts NaN and infinite values in a tensor's slabs.

    A clean slab costs two maxima of integers and no memory.

    Attributes:
        nan: How many values were NaN.
        inf: How many were infinite.
        largest: The greatest finite magnitude of an IEEE type, as its bits without the sign; 0 where all are zero.
    """

    def __init__(self, dtype: DType) -> None:
        self.nan = 0
        self.inf = 0
        self.largest = 0
        self._ieee = _IEEE.get(dtype)
        self._nan_only = _NAN_ONLY.get(dtype)

    def update(self, data: memoryview) -> None:
        if self._ieee is not None:
            kind, mask, infinity = self._ieee
            bits = np.frombuffer(data, dtype=kind)
            largest = _greatest_magnitude(bits, mask)
            if largest >= infinity:
                magnitude = np.bitwise_and(bits, bits.dtype.type(mask))
                self.inf += int(np.count_nonzero(magnitude == infinity))
                self.nan += int(np.count_nonzero(magnitude > infinity))
                largest = int(magnitude[magnitude < infinity].max(initial=0))
            self.largest = max(self.largest, largest)
        elif self._nan_only is not None:
            mask, pattern = self._nan_only
            self.nan += int(np.count_nonzero((np.frombuffer(data, dtype="u1") & mask) == pattern))


def _greatest_magnitude(bits: Any, mask: int) -> int:
    """Return the greatest of numbers without their signs.

    As unsigned, negative ones come above all others, in the order of their magnitude; as signed, below.
    """
    if not bits.size:
        return 0
    below = int(bits.max()) & mask
    return max(below, int(bits.view(bits.dtype.str.replace("u", "i")).max()))


def total(counts: Sequence[NonFinite]) -> NonFinite:
    """Return the counts of all parts of a tensor together."""
    first = counts[0]
    for other in counts[1:]:
        first.nan += other.nan
        first.inf += other.inf
        first.largest = max(first.largest, other.largest)
    return first


def dtype_of_numpy(dtype: Any) -> DType | None:
    """Return our type of a numpy dtype.

    The byte order plays no part; the result is None where there is no such type.
    """
    wanted = dtype.newbyteorder("<").str.replace("|", "").replace("<", "")
    for known, name in _PLAIN.items():
        if np.dtype(name).str.replace("|", "").replace("<", "") == wanted:
            return known
    return None


def numpy_name(dtype: DType) -> str | None:
    """Return numpy's little-endian name of a type.

    None where numpy has none.
    """
    return _PLAIN.get(dtype)


def as_numbers(data: memoryview, dtype: DType) -> Any:
    """Return the elements as a numpy array for computing.

    Integers and floats as they are, small floats as F32.

    Raises:
        UnsupportedFormatError: Types of which several elements share a byte.
    """
    plain = _PLAIN.get(dtype)
    if plain is not None:
        return np.frombuffer(data, dtype=plain)
    if dtype is DType.BF16:
        return (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view("<f4")
    if dtype.bits == 8:
        return _table(dtype)[np.frombuffer(data, dtype="u1")]
    raise UnsupportedFormatError(f"{dtype.code}: its values are not computed with here")


@cache
def _table(dtype: DType) -> Any:
    """Return the 256 values of an eight-bit float type."""
    codes = np.arange(256)
    if dtype is DType.F8_E8M0:
        values = np.exp2(codes.astype("f8") - 127)
        values[255] = np.nan
        return values.astype("f4")
    mantissa_bits = 3 if dtype in (DType.F8_E4M3, DType.F8_E4M3FNUZ) else 2
    bias = {DType.F8_E4M3: 7, DType.F8_E5M2: 15, DType.F8_E4M3FNUZ: 8, DType.F8_E5M2FNUZ: 16}[dtype]
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent = (codes & 0x7F) >> mantissa_bits
    fraction = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    values = sign * np.where(exponent, np.exp2(exponent - bias) * (1 + fraction), np.exp2(1.0 - bias) * fraction)
    bits = codes & 0x7F
    if dtype is DType.F8_E5M2:
        values = np.where(bits == 0x7C, sign * np.inf, np.where(bits > 0x7C, np.nan, values))
    elif dtype is DType.F8_E4M3:
        values = np.where(bits == 0x7F, np.nan, values)
    else:
        values = np.where(codes == 0x80, np.nan, values)
    return values.astype("f4")
