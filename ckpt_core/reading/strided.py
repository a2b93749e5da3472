"""Copies elements of chunks that are not row-major.

Such are a transposed weight, a column, an expanded tensor. A local file is mapped, so the kernel keeps in memory what
it can afford; of a remote one the span that a slab of the result needs is fetched, which must fit the budget.
"""

from math import prod
from typing import Any

from ckpt_core.reading.slabs import slabs
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import Box, ByteRange, Chunk
from ckpt_core.storage.files.range_checks import check_budget, check_range


def copy_strided(files: Files, dtype: DType, chunk: Chunk, shared: Box, box: Box, out: memoryview) -> None:
    """Copy a shared box of a strided chunk into `out`.

    `out` is the result, which holds `box`.
    """
    import numpy as np

    source = _view(files, dtype, chunk)
    kind = f"V{dtype.itemsize}"
    target = np.frombuffer(out, dtype=kind).reshape(box[1])
    for offsets, sizes in slabs(shared[1], dtype):
        there = _slices(shared[0], chunk.offsets, offsets, sizes)
        here = _slices(shared[0], box[0], offsets, sizes)
        target[here] = source[there]


def _slices(start: tuple[int, ...], origin: tuple[int, ...], offsets: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
    return tuple(
        slice(s - o + off, s - o + off + size) for s, o, off, size in zip(start, origin, offsets, sizes, strict=True)
    )


def _view(files: Files, dtype: DType, chunk: Chunk) -> Any:
    """Return the chunk as a numpy array of opaque items.

    The array lies over mapped or fetched bytes.
    """
    import numpy as np

    stored = chunk.stored
    assert stored is not None and chunk.strides is not None
    strides = [stride * dtype.itemsize for stride in chunk.strides]
    span = span_bytes(chunk.sizes, chunk.strides, dtype.itemsize)
    path = files.local_path(stored.path)
    check_range(stored.path, stored.offset + chunk.at, span, files.size(stored.path))
    if path is None:
        check_budget(span, stored.path)
        data: Any = np.frombuffer(files.read(stored.path, stored.offset + chunk.at, span), dtype=np.uint8)
    else:
        files.prove([ByteRange(stored.path, stored.offset + chunk.at, span)])
        with open(path, "rb") as file:
            files.opened(stored.path, file.fileno())
            data = np.memmap(file, dtype=np.uint8, mode="r", offset=stored.offset + chunk.at, shape=(span,))
    return np.ndarray(chunk.sizes, dtype=f"V{dtype.itemsize}", buffer=data, strides=strides)


def span_bytes(sizes: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> int:
    """Return the bytes that a strided box spans.

    They go from its first element to the end of its last.
    """
    if not prod(sizes):
        return 0
    return (sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1) * itemsize
