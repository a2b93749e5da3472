"""Element types, under the codes of the safetensors format.

Codes and widths: safetensors, `safetensors/src/tensor.rs`. C128 is ours, for torch's complex128.
"""

from enum import Enum


class DType(Enum):
    """An element type, with the value (code, bits per element)."""

    BOOL = ("BOOL", 8)
    F4 = ("F4", 4)
    F6_E2M3 = ("F6_E2M3", 6)
    F6_E3M2 = ("F6_E3M2", 6)
    U8 = ("U8", 8)
    I8 = ("I8", 8)
    F8_E5M2 = ("F8_E5M2", 8)
    F8_E4M3 = ("F8_E4M3", 8)
    F8_E8M0 = ("F8_E8M0", 8)
    F8_E4M3FNUZ = ("F8_E4M3FNUZ", 8)
    F8_E5M2FNUZ = ("F8_E5M2FNUZ", 8)
    I16 = ("I16", 16)
    U16 = ("U16", 16)
    F16 = ("F16", 16)
    BF16 = ("BF16", 16)
    I32 = ("I32", 32)
    U32 = ("U32", 32)
    F32 = ("F32", 32)
    C64 = ("C64", 64)
    F64 = ("F64", 64)
    I64 = ("I64", 64)
    U64 = ("U64", 64)
    C128 = ("C128", 128)

    def __init__(self, code: str, bits: int) -> None:
        self.code = code
        self.bits = bits
        # Bytes an element; 0 where several share a byte. A plain attribute: it is asked once a tensor.
        self.itemsize = bits // 8 if bits % 8 == 0 else 0

    # Members are compared by identity; an enum's own hash is a call in Python, and tables by type are asked often.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return self.code

    def nbytes(self, elements: int) -> int:
        """Return how many bytes this many elements take, packed.

        A last part of a byte counts as one byte.
        """
        return (elements * self.bits + 7) // 8

    @property
    def is_float(self) -> bool:
        """True if values are real numbers other than integers.

        They can be NaN or infinite, or are numbers of at most eight bits.
        """
        return self.code[0] == "F" or self.code == "BF16"

    @property
    def is_complex(self) -> bool:
        return self.code[0] == "C"


BY_CODE: dict[str, DType] = {dtype.code: dtype for dtype in DType}

_SPELLINGS = {
    "FP64": "F64",
    "FLOAT64": "F64",
    "DOUBLE": "F64",
    "FP32": "F32",
    "FLOAT32": "F32",
    "FLOAT": "F32",
    "FP16": "F16",
    "FLOAT16": "F16",
    "HALF": "F16",
    "BFLOAT16": "BF16",
    "INT64": "I64",
    "LONG": "I64",
    "INT32": "I32",
    "INT": "I32",
    "INT16": "I16",
    "SHORT": "I16",
    "INT8": "I8",
    "UINT8": "U8",
    "BYTE": "U8",
    "FLOAT8_E4M3FN": "F8_E4M3",
    "FLOAT8_E5M2": "F8_E5M2",
}
"""What people type besides a code, in capitals. Sources: torch's, numpy's and CUDA's names, and trainers' flags."""


def dtype_named(spelling: object) -> DType:
    """Return the element type with a given spelling.

    Understood are `bf16`, `BFLOAT16`, `torch.float16`, `fp32`, and a dtype of torch or numpy.

    Raises:
        UsageError: It is none.
    """
    if isinstance(spelling, DType):
        return spelling
    text = str(spelling)
    code = text.strip().rpartition("torch.")[2].rpartition("numpy.")[2].strip("<>'\" ").upper()
    dtype = BY_CODE.get(_SPELLINGS.get(code, code))
    if dtype is None:
        from ckpt_core.errors import UsageError

        known = ", ".join(sorted(BY_CODE))
        raise UsageError(f"{text!r}: not a type; known are {known}, and torch's names for them")
    return dtype
