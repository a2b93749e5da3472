"""Builds numpy's arrays and scalars from pickles, without numpy.

Source of the layout: numpy, `numpy/_core/src/multiarray/methods.c` (array_setstate) and `descriptor.c`
(arraydescr_setstate), and `numpy/_core/numeric.py` (_frombuffer).
"""

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

from ckpt_core.codecs.pickle.records import Budget, Recorded, recorded_class
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.state import Array

_DTYPES = {
    "b1": DType.BOOL,
    "i1": DType.I8,
    "u1": DType.U8,
    "i2": DType.I16,
    "u2": DType.U16,
    "i4": DType.I32,
    "u4": DType.U32,
    "i8": DType.I64,
    "u8": DType.U64,
    "f2": DType.F16,
    "f4": DType.F32,
    "f8": DType.F64,
    "c8": DType.C64,
    "c16": DType.C128,
}
_SCALAR_CODES = {
    DType.BOOL: "?",
    DType.I8: "b",
    DType.U8: "B",
    DType.I16: "h",
    DType.U16: "H",
    DType.I32: "i",
    DType.U32: "I",
    DType.I64: "q",
    DType.U64: "Q",
    DType.F16: "e",
    DType.F32: "f",
    DType.F64: "d",
}
# Transposing a Fortran array takes a step of Python an element: fine for an RNG state, not for a tensor in disguise.
_LARGEST_FORTRAN = 1 << 16
_FORTRAN_COST = 64

OpaqueArray = recorded_class("numpy.ndarray")
OpaqueScalar = recorded_class("numpy.generic")


class DtypeRecord(Recorded):
    """A numpy dtype as recorded from a pickle.

    `dtype(text, align, copy)`, then a state whose second item is the byte order.
    """

    __slots__ = ()

    class_name = "numpy.dtype"

    @property
    def dtype(self) -> DType | None:
        """The element type; None where we have no counterpart.

        Text, records and objects have none.
        """
        text = self.args[0] if self.args else None
        return _DTYPES.get(text.lstrip("<>|=")) if type(text) is str else None

    @property
    def little_endian(self) -> bool:
        state = self.state
        order = state[1] if type(state) is tuple and len(state) > 1 else self.args[0][:1]
        return bool(order != ">")


class ArrayRecord(Recorded):
    """An array that `_reconstruct` makes and BUILD fills."""

    __slots__ = ("spend",)

    class_name = "numpy.ndarray"
    spend: Budget

    def value(self) -> Array | None:
        """Return the array; None where it is not a plain one.

        Then it stays a record.
        """
        state = self.state
        if type(state) is not tuple or len(state) != 5:
            return None
        _, shape, dtype, fortran, data = state
        if type(data) is str:  # a pickle of Python 2
            data = data.encode("utf-8", "surrogateescape")
        return make_array(shape, dtype, data, bool(fortran), self.spend)


def make_array(shape: Any, dtype: Any, data: Any, fortran: bool, budget: Budget) -> Array | None:
    """Return the array in row-major, little-endian order.

    None where it is not plain data.

    Raises:
        ValueError: The bytes do not fit the shape.
    """
    if not isinstance(dtype, DtypeRecord) or dtype.dtype is None or type(data) not in (bytes, bytearray):
        return None
    if type(shape) is not tuple or len(shape) > 64 or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("the shape of an array is not a tuple of sizes")
    kind = dtype.dtype
    if len(data) != kind.nbytes(prod(shape)):
        raise ValueError(f"an array of shape {shape} and type {kind.code} has {len(data)} bytes")
    budget.copy(len(data))
    plain = bytes(data)
    if not dtype.little_endian:
        plain = _swapped(plain, kind.itemsize // 2 if kind.is_complex else kind.itemsize)
    if fortran and len(shape) > 1:
        if prod(shape) > _LARGEST_FORTRAN:
            return None
        budget.copy(len(data) * _FORTRAN_COST)
        plain = _row_major(plain, shape, kind.itemsize)
    return Array(kind, shape, plain)


def _swapped(data: bytes, width: int) -> bytes:
    out = bytearray(len(data))
    for byte in range(width):
        out[byte::width] = data[width - 1 - byte :: width]
    return bytes(out)


def _row_major(data: bytes, shape: tuple[int, ...], width: int) -> bytes:
    steps = [prod(shape[:axis]) * width for axis in range(len(shape))]
    starts = (
        sum(index * step for index, step in zip(place, steps, strict=True)) for place in product(*map(range, shape))
    )
    return b"".join(data[start : start + width] for start in starts)


def numpy_factories(budget: Budget) -> dict[str, Any]:
    """Return the stand-ins for numpy's constructors.

    They have the full names of every version of numpy.
    """

    def reconstruct(kind: Any = None, shape: Any = None, code: Any = None) -> ArrayRecord:
        record = ArrayRecord()
        assert isinstance(record, ArrayRecord)
        record.spend = budget
        return record

    def from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> Array | Recorded:
        array = make_array(shape, dtype, data, order == "F", budget) if axes is None else None
        return OpaqueArray(data, dtype, shape, order) if array is None else array

    def scalar(dtype: Any, data: Any = None) -> Any:
        return _scalar(dtype, data, budget)

    def dtype(text: Any, align: Any = False, copy: Any = True) -> Recorded:
        return DtypeRecord(text, align, copy)

    factories: dict[str, Callable[..., Any]] = {"numpy.dtype": dtype}
    for core in ("numpy.core", "numpy._core"):
        factories[f"{core}.multiarray._reconstruct"] = reconstruct
        factories[f"{core}.multiarray.scalar"] = scalar
        factories[f"{core}.numeric._frombuffer"] = from_buffer
    return factories


def _scalar(dtype: Any, data: Any, budget: Budget) -> bool | int | float | Recorded:
    from struct import unpack

    if type(data) is str:
        data = data.encode("utf-8", "surrogateescape")
    array = make_array((), dtype, data, False, budget)
    code = _SCALAR_CODES.get(array.dtype) if array else None
    if array is None or code is None:
        return OpaqueScalar(dtype, data)
    value: bool | int | float = unpack("<" + code, array.data)[0]
    return value
