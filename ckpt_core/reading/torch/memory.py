"""Brings a stretch of a file into memory.

It is mapped, or read into new memory by several workers, each of which reads one contiguous part.
"""

import mmap
import os
from typing import TYPE_CHECKING

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.reading.torch.new_memory import new_region
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import DType
from ckpt_core.storage.files.regular import open_regular
from ckpt_core.storage.workers import WORTH_A_WORKER, run, workers

if TYPE_CHECKING:
    import torch

_MADV_POPULATE_READ = 22
"""Linux 5.14 and later: fill the page table for reading, without a copy of private pages."""


def map_region(files: Files, path: str, local: str, offset: int, length: int) -> mmap.mmap:
    """Map a listed file privately.

    The file is at `local`; writing to the mapping changes this process's copy only. `offset` is a multiple of the page
    size.
    """
    descriptor = open_regular(local, path)
    try:
        files.opened(path, descriptor)
        region = mmap.mmap(
            descriptor, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=offset
        )
    finally:
        os.close(descriptor)
    try:
        region.madvise(_MADV_POPULATE_READ)
    except OSError:
        pass  # an older kernel: pages come when they are touched
    return region


def read_region(files: Files, path: str, offset: int, length: int) -> mmap.mmap:
    """Read a stretch of a file into new memory."""
    region = new_region(length)
    read_parallel(files, path, offset, memoryview(region)[:length])
    return region


_REMOTE_STEP = 8 << 20
"""Bytes that a server is asked for at once, so that checksums are compared while the next ones come."""


def read_parallel(files: Files, path: str, offset: int, out: memoryview) -> None:
    """Fill `out` from byte `offset` of a file.

    Each worker reads one contiguous part.
    """
    remote = files.is_remote(path)
    count = min(workers(remote=remote), max(len(out) // WORTH_A_WORKER, 1))
    share = max(-(-len(out) // count), 1)
    step = _REMOTE_STEP if remote else share

    def read(part: list[int]) -> None:
        (first,) = part
        for at in range(first, min(first + share, len(out)), step):
            end = min(at + step, first + share)
            files.read_into(path, offset + at, out[at:end])

    run(read, [[at] for at in range(0, len(out), share)])


_TORCH_NAME = {
    DType.BOOL: "bool",
    DType.U8: "uint8",
    DType.I8: "int8",
    DType.I16: "int16",
    DType.U16: "uint16",
    DType.F16: "float16",
    DType.BF16: "bfloat16",
    DType.I32: "int32",
    DType.U32: "uint32",
    DType.F32: "float32",
    DType.F64: "float64",
    DType.I64: "int64",
    DType.U64: "uint64",
    DType.C64: "complex64",
    DType.C128: "complex128",
    DType.F8_E4M3: "float8_e4m3fn",
    DType.F8_E5M2: "float8_e5m2",
    DType.F8_E4M3FNUZ: "float8_e4m3fnuz",
    DType.F8_E5M2FNUZ: "float8_e5m2fnuz",
    DType.F8_E8M0: "float8_e8m0fnu",
}


def torch_dtype(dtype: DType) -> "torch.dtype":
    """Return torch's type.

    UnsupportedFormatError where it has none.
    """
    import torch

    name = _TORCH_NAME.get(dtype)
    if name is None or not hasattr(torch, name):
        raise UnsupportedFormatError(f"{dtype.code}: this torch has no such type; read its bytes with .read")
    return getattr(torch, name)


def writable_bytes(tensor: "torch.Tensor") -> memoryview:
    """Return the memory of a contiguous CPU tensor as bytes."""
    import torch

    return memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())
