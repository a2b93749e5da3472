"""The element types under torch's names.

Names: torch, `torch/__init__.py` (the storage classes) and `c10/core/ScalarType.h`.
"""

from ckpt_core.schema.dtypes import DType

BY_DTYPE_NAME: dict[str, DType] = {
    "float64": DType.F64,
    "double": DType.F64,
    "float32": DType.F32,
    "float": DType.F32,
    "float16": DType.F16,
    "half": DType.F16,
    "bfloat16": DType.BF16,
    "int64": DType.I64,
    "long": DType.I64,
    "int32": DType.I32,
    "int": DType.I32,
    "int16": DType.I16,
    "short": DType.I16,
    "int8": DType.I8,
    "uint8": DType.U8,
    "uint16": DType.U16,
    "uint32": DType.U32,
    "uint64": DType.U64,
    "bool": DType.BOOL,
    "complex64": DType.C64,
    "cfloat": DType.C64,
    "complex128": DType.C128,
    "cdouble": DType.C128,
    "float8_e4m3fn": DType.F8_E4M3,
    "float8_e5m2": DType.F8_E5M2,
    "float8_e4m3fnuz": DType.F8_E4M3FNUZ,
    "float8_e5m2fnuz": DType.F8_E5M2FNUZ,
    "float8_e8m0fnu": DType.F8_E8M0,
}
"""By the name of a `torch.dtype`, without `torch.`."""

OTHER_DTYPES: dict[str, int] = {
    "complex32": 4,
    "chalf": 4,
    **dict.fromkeys(("bits8", "bits1x8", "bits2x4", "bits4x2"), 1),
    "bits16": 2,
    **dict.fromkeys(("qint8", "quint8", "quint4x2", "quint2x4"), 1),
    "qint32": 4,
    "float4_e2m1fn_x2": 1,
    **{f"{sign}int{bits}": 1 for sign in ("", "u") for bits in range(1, 8)},
}
"""Bytes an element of the dtypes that we have no type for; an element of few bits has a byte, too, unless packed."""

PACKED_F4 = "float4_e2m1fn_x2"
"""A dtype of one byte that holds two F4 elements."""

BY_STORAGE_NAME: dict[str, tuple[DType | None, int]] = {
    "DoubleStorage": (DType.F64, 8),
    "FloatStorage": (DType.F32, 4),
    "HalfStorage": (DType.F16, 2),
    "BFloat16Storage": (DType.BF16, 2),
    "LongStorage": (DType.I64, 8),
    "IntStorage": (DType.I32, 4),
    "ShortStorage": (DType.I16, 2),
    "CharStorage": (DType.I8, 1),
    "ByteStorage": (DType.U8, 1),
    "BoolStorage": (DType.BOOL, 1),
    "ComplexFloatStorage": (DType.C64, 8),
    "ComplexDoubleStorage": (DType.C128, 16),
    "UntypedStorage": (DType.U8, 1),
    "QInt8Storage": (None, 1),
    "QUInt8Storage": (None, 1),
    "QInt32Storage": (None, 4),
    "QUInt4x2Storage": (None, 1),
    "QUInt2x4Storage": (None, 1),
}
"""Element type and bytes an element, by the name of a storage class; None for quantized ones."""
