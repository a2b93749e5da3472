"""Reads a box of a tensor out of its chunks.

The result is row-major little-endian bytes.

A whole row-major chunk is read straight into the caller's buffer. Everything else goes through slabs: what is held
besides the result is at most one slab, or for a strided chunk the rows of it that a slab's worth of result needs.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod

from ckpt_core.arguments import marked
from ckpt_core.errors import CkptError, CorruptError, UnsupportedFormatError
from ckpt_core.reading.slabs import slabs
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import Box, ByteRange, Chunk, TensorEntry, row_major_strides
from ckpt_core.schema.text import printable

FindChunk = Callable[[Chunk], Chunk]
"""Makes a raw chunk of one whose elements have a place of their own within its bytes."""


def read_box(
    files: Files, name: str, entry: TensorEntry, box: Box, out: memoryview, *, find_chunk: FindChunk | None = None
) -> None:
    """Fill `out` with the elements of a box.

    Args:
        files: Where its chunks are stored.
        name: The tensor's name, for errors.
        entry: The tensor.
        box: Offsets and sizes in elements.
        out: Exactly the bytes of the box.
        find_chunk: Finds the elements of chunks that are not raw; None where all are.

    Raises:
        CorruptError: Elements of the box are stored nowhere or in two chunks that overlap, or a file ends early.
    """
    wanted = prod(box[1])
    if len(out) != entry.dtype.nbytes(wanted):
        raise ValueError(f"{printable(name)}: the buffer has {len(out)} bytes, the box {entry.dtype.nbytes(wanted)}")
    if not wanted:
        return
    filled = 0
    done: set[Box] = set()
    parts: list[Box] = []
    for chunk in entry.chunks:
        if _apart(box, chunk) or (chunk.offsets, chunk.sizes) in done:
            continue
        done.add((chunk.offsets, chunk.sizes))
        shared = _intersection(box, (chunk.offsets, chunk.sizes))
        if shared is None:
            continue
        if any(_intersection(shared, part) is not None for part in parts):
            raise CorruptError(f"{printable(name)}: its chunks overlap; run ckpt verify", code="CV004", tensor=name)
        parts.append(shared)
        _copy(files, name, entry.dtype, _located(name, chunk, find_chunk), shared, box, out)
        filled += prod(shared[1])
    if filled < wanted:
        raise CorruptError(
            f"{printable(name)}: {wanted - filled} of {wanted} elements are stored nowhere; run ckpt verify",
            code="CV005",
            tensor=name,
        )


def _located(name: str, chunk: Chunk, find_chunk: FindChunk | None) -> Chunk:
    if find_chunk is None or chunk.encoding.name == "raw":
        return chunk
    try:
        return find_chunk(chunk)
    except CkptError as error:
        if error.tensor is not None:
            raise
        message = f"{printable(name)}: {marked(error.message)}"
        raise type(error)(message, code=error.code, path=error.path, tensor=name, hint=error.hint) from None


def _apart(box: Box, chunk: Chunk) -> bool:
    """Return True if box and chunk share no element.

    It is the quickest test for nearly all of the many chunks of a sharded tensor.
    """
    for start, size, offset, length in zip(*box, chunk.offsets, chunk.sizes, strict=True):
        if start >= offset + length or offset >= start + size:
            return True
    return False


def _intersection(first: Box, second: Box) -> Box | None:
    starts = tuple(max(a, b) for a, b in zip(first[0], second[0], strict=True))
    ends = tuple(min(a + n, b + m) for a, n, b, m in zip(*first, *second, strict=True))
    sizes = tuple(end - start for start, end in zip(starts, ends, strict=True))
    return (starts, sizes) if all(size > 0 for size in sizes) else None


def _copy(files: Files, name: str, dtype: DType, chunk: Chunk, shared: Box, box: Box, out: memoryview) -> None:
    if chunk.encoding.name != "raw":
        raise UnsupportedFormatError(f"{printable(name)}: encoding {chunk.encoding.name!r} is not known here")
    if chunk.stored is None:
        raise UnsupportedFormatError(f"{printable(name)}: lies in the memory of a running process")
    if not chunk.encoding.little_endian and dtype.bits > 8:
        _copy_swapped(files, name, dtype, chunk, shared, box, out)
    elif not dtype.itemsize and shared[1] != chunk.sizes:
        raise UnsupportedFormatError(f"{printable(name)}: parts of {dtype.code} tensors cannot be addressed")
    elif chunk.strides is not None:
        from ckpt_core.reading.strided import copy_strided

        copy_strided(files, dtype, chunk, shared, box, out)
    else:
        _copy_row_major(files, dtype, chunk, shared, box, out)


def _copy_row_major(files: Files, dtype: DType, chunk: Chunk, shared: Box, box: Box, out: memoryview) -> None:
    assert chunk.stored is not None
    base = chunk.stored.offset + chunk.at
    if not dtype.itemsize:
        files.read_into(chunk.stored.path, base, out)
        return
    places = [
        (
            ByteRange(chunk.stored.path, base + source * dtype.itemsize, elements * dtype.itemsize),
            target * dtype.itemsize,
        )
        for source, target, elements in runs(chunk, shared, box)
    ]
    if len(places) > 1 and files.local_path(chunk.stored.path) is None:
        _copy_scattered(files, places, out)
        return
    for place, start in places:
        files.read_into(place.path, place.offset, out[start : start + place.length])


_TOGETHER = 4 << 20
"""Bytes of scattered stretches that a server is asked for at once; near ones are one question."""


def _copy_scattered(files: Files, places: Sequence[tuple[ByteRange, int]], out: memoryview) -> None:
    """Copy stretches that a server is asked for together."""
    per = max(_TOGETHER // max(places[0][0].length, 1), 1)
    for at in range(0, len(places), per):
        some = places[at : at + per]
        for (place, start), data in zip(some, files.read_many([place for place, _ in some]), strict=True):
            out[start : start + place.length] = data


def runs(chunk: Chunk, shared: Box, box: Box) -> Iterator[tuple[int, int, int]]:
    """Yield the contiguous stretches of a shared box.

    Each is contiguous both in a row-major chunk and in the result.

    Yields:
        First element in the chunk, first element in the result, number of elements.
    """
    starts, sizes = shared
    ndim = len(sizes)
    outer = ndim
    while outer and sizes[outer - 1 :] == chunk.sizes[outer - 1 :] == box[1][outer - 1 :]:
        outer -= 1
    outer = max(outer - 1, 0)
    elements = prod(sizes[outer:])
    source_steps, target_steps = row_major_strides(chunk.sizes), row_major_strides(box[1])
    source = sum((s - o) * step for s, o, step in zip(starts, chunk.offsets, source_steps, strict=True))
    target = sum((s - o) * step for s, o, step in zip(starts, box[0], target_steps, strict=True))
    for index in product(*(range(size) for size in sizes[:outer])):
        at = sum(i * step for i, step in zip(index, source_steps, strict=False))
        to = sum(i * step for i, step in zip(index, target_steps, strict=False))
        yield source + at, target + to, elements


def _copy_swapped(files: Files, name: str, dtype: DType, chunk: Chunk, shared: Box, box: Box, out: memoryview) -> None:
    import numpy as np

    width = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
    little = Chunk(chunk.offsets, chunk.sizes, chunk.stored, chunk.strides, at=chunk.at)
    if shared == box:
        _copy(files, name, dtype, little, shared, box, out)
        np.frombuffer(out, dtype=f"u{width}").byteswap(inplace=True)
        return
    kind = f"V{dtype.itemsize}"
    target = np.frombuffer(out, dtype=kind).reshape(box[1])
    for offsets, sizes in slabs(shared[1], dtype):
        part = tuple(start + offset for start, offset in zip(shared[0], offsets, strict=True)), sizes
        data = memoryview(bytearray(dtype.nbytes(prod(sizes))))
        _copy_swapped(files, name, dtype, chunk, part, part, data)
        here = tuple(slice(s - o, s - o + n) for s, o, n in zip(part[0], box[0], sizes, strict=True))
        target[here] = np.frombuffer(data, dtype=kind).reshape(sizes)
