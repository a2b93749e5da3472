"""Small checkpoints as plain data.

Every element type, scalars, empty tensors, odd names. Made of bytes, no library.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from ckpt_core.schema.dtypes import DType

if TYPE_CHECKING:
    import numpy as np
    import torch

BYTE_DTYPES = tuple(dtype for dtype in DType if dtype.itemsize)
"""Types of which every element has bytes of its own."""

_NUMPY = {DType.BOOL: "?", DType.F16: "<f2", DType.F32: "<f4", DType.F64: "<f8", DType.C64: "<c8", DType.C128: "<c16"}
_NUMPY |= {DType[f"{kind}{bits}"]: f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (8, 16, 32, 64)}

NUMPY_DTYPES = tuple(_NUMPY)
"""Types that numpy has."""

ODD_NAMES = ("a", "a.b.c", "0", "weight with spaces", "ünïcode.ключ.权重", 'quote"d', "UPPER.lower", "x" * 300)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written: its row-major little-endian bytes.

    Attributes:
        column_major: Whether the format shall keep it column by column, where it can; `data` is row-major in any case.
    """

    dtype: DType
    shape: tuple[int, ...]
    data: bytes
    column_major: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Tensors by name."""

    tensors: Mapping[str, Tensor]


def tensor(dtype: DType, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return a tensor of random bytes that are valid for its type.

    Booleans are 0 or 1.
    """
    source = random.Random(f"{dtype.code}{shape}{seed}")
    data = source.randbytes(dtype.nbytes(prod(shape)))
    if dtype is DType.BOOL:
        data = bytes(byte & 1 for byte in data)
    return Tensor(dtype, shape, data)


def finite(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """An F32 tensor of finite values."""
    from struct import pack

    source = random.Random(seed)
    return Tensor(DType.F32, shape, b"".join(pack("<f", source.uniform(-1, 1)) for _ in range(prod(shape))))


def every_dtype(dtypes: Iterable[DType]) -> Sample:
    """One tensor of each type."""
    return Sample({f"t.{dtype.code}": tensor(dtype, (3, 5)) for dtype in dtypes})


def every_shape() -> Sample:
    """A scalar, empty tensors, one element, and up to five dimensions."""
    shapes = [(), (0,), (3, 0, 2), (1,), (7,), (2, 3), (2, 1, 3), (2, 2, 2, 2), (1, 2, 1, 3, 1)]
    return Sample({f"s{index}": finite(shape, index) for index, shape in enumerate(shapes)})


def odd_names() -> Sample:
    """Names that a careless reader stumbles over."""
    return Sample({name: finite((2,), index) for index, name in enumerate(ODD_NAMES)})


def column_major() -> Sample:
    """Arrays of one to four dimensions that are kept column by column."""
    shapes = [(4, 3), (5,), (2, 3, 4), (1, 6), (2, 2, 3, 2)]
    return Sample({f"c{i}": replace(finite(shape, i), column_major=True) for i, shape in enumerate(shapes)})


def renamed(sample: Sample, prefix: str) -> Sample:
    """The same tensors under other names."""
    return Sample({f"{prefix}{name}": tensor for name, tensor in sample.tensors.items()})


def plain() -> Sample:
    """Return two layers of a model.

    Finite, and large enough that damage hits a tensor.
    """
    return Sample({f"layers.{i}.{part}": finite((16, 16), i) for i in range(4) for part in ("weight", "bias")})


def as_numpy(sample: Sample) -> "dict[str, np.ndarray[Any, Any]]":
    """Return the sample as numpy arrays, for formats that numpy writes.

    KeyError for a type that numpy has not.
    """
    import numpy as np

    return {
        name: np.array(
            np.frombuffer(item.data, _NUMPY[item.dtype]).reshape(item.shape), order="F" if item.column_major else "C"
        )
        for name, item in sample.tensors.items()
    }


def as_torch(sample: Sample) -> "dict[str, torch.Tensor]":
    """Return the sample as torch tensors.

    Formats that torch or a library over it writes need them so.
    """
    import torch

    from ckpt_core.reading.torch.memory import torch_dtype

    result = {}
    for name, item in sample.tensors.items():
        raw = (
            torch.frombuffer(bytearray(item.data), dtype=torch.uint8)
            if item.data
            else torch.empty(0, dtype=torch.uint8)
        )
        straight = raw.view(torch_dtype(item.dtype)).reshape(item.shape)
        result[name] = straight.mT.contiguous().mT if item.column_major and straight.ndim > 1 else straight
    return result


def hostile_files(command: str) -> list[bytes]:
    """Return files that run a command when they are unpickled.

    A bare pickle, torch's legacy layout, and its zip.
    """
    import io
    import zipfile

    call = f"cposix\nsystem\n(V{command}\ntR.".encode()
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00."
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", call)
        file.writestr("archive/version", "3\n")
    return [call, magic + call, archive.getvalue()]
