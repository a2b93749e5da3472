"""Fills existing torch tensors from a checkpoint, in place.

Bytes go straight into their memory, or are cast slab by slab. Memory: nothing for a tensor of the stored type that is
contiguous on the CPU; one slab a worker for every other.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import TYPE_CHECKING

from ckpt_core import knobs
from ckpt_core.reading.slabs import slabs
from ckpt_core.reading.torch.memory import torch_dtype, writable_bytes
from ckpt_core.reading.torch.source import TensorSource
from ckpt_core.schema.tensors import Box, stretch_of
from ckpt_core.storage.workers import run, stretches

if TYPE_CHECKING:
    import torch

_PIECE = 8 << 20
"""Bytes after which a tensor is cut, so that workers end at about the same time."""


@dataclass(frozen=True, slots=True)
class Fill:
    """A tensor to fill, and the stored tensor's name.

    Both have the same shape; where there is a box, the target has the shape of that part of the stored one.
    """

    target: "torch.Tensor"
    component: str
    name: str
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    path: str
    offset: int
    out: memoryview
    name: str


def fill_tensors(checkpoint: TensorSource, fills: Sequence[Fill], *, done: Callable[[str], None]) -> None:
    """Fill every tensor and report each that is complete.

    `done` is told the name of each stored tensor whose bytes have all arrived, in any order.

    Raises:
        CkptError: A read fails; tensors that `done` was not told of may hold a part of their new values.
    """
    read_fills(checkpoint, fills, done=done)
    checkpoint.finish()


def read_fills(checkpoint: TensorSource, fills: Sequence[Fill], *, done: Callable[[str], None]) -> None:
    """Fill as `fill_tensors`, without its `finish`."""
    checkpoint.confirm()
    pieces: list[_Piece] = []
    slow: list[Fill] = []
    for item in fills:
        own_pieces = _pieces(checkpoint, item)
        if own_pieces is None:
            slow.append(item)
        else:
            pieces.extend(own_pieces)
            if not own_pieces:
                done(item.name)
    pieces.sort(key=lambda piece: (piece.path, piece.offset))
    arrived = _counted(pieces, done)
    remote = _is_remote(checkpoint, [piece.path for piece in pieces[:1]])
    shares = stretches(pieces, [len(piece.out) for piece in pieces], remote=remote)
    run(lambda share: _read_pieces(checkpoint, share, arrived), shares)
    slow.sort(key=lambda item: _place(checkpoint, item))
    sizes = [item.target.numel() * item.target.element_size() for item in slow]
    remote = _is_remote(checkpoint, [_place(checkpoint, item)[0] for item in slow[:1]])
    run(lambda share: _convert_all(checkpoint, share, done), stretches(slow, sizes, remote=remote))


def _is_remote(checkpoint: TensorSource, paths: Sequence[str]) -> bool:
    return any(path and checkpoint.files.is_remote(path) for path in paths)


def _pieces(checkpoint: TensorSource, item: Fill) -> list[_Piece] | None:
    """Return the pieces in which a tensor is read.

    Each says where bytes lie and go; None where they cannot go straight to its memory.
    """
    import torch

    info = checkpoint.component(item.component).tensors.info(item.name)
    target = item.target
    direct = target.device.type == "cpu" and target.is_contiguous() and info.dtype.itemsize
    if not direct or target.dtype is not torch_dtype(info.dtype) or info.path is None:
        return None
    if not isinstance(target, torch.Tensor):
        return None
    if not target.numel():
        return []
    stretch = (0, info.numel) if item.box is None else stretch_of(item.box, info.shape)
    if stretch is None:
        return None
    memory, start = writable_bytes(target), info.offset + stretch[0] * info.dtype.itemsize
    return [_Piece(info.path, start + at, memory[at : at + _PIECE], item.name) for at in range(0, len(memory), _PIECE)]


def _place(checkpoint: TensorSource, item: Fill) -> tuple[str, int]:
    info = checkpoint.component(item.component).tensors.info(item.name)
    return info.path or "", info.offset


def _counted(pieces: Sequence[_Piece], done: Callable[[str], None]) -> Callable[[_Piece], None]:
    """Return a function that counts the pieces that arrived.

    Each worker calls it; `done` is told of a tensor with its last piece.
    """
    left, lock = Counter(piece.name for piece in pieces), Lock()

    def arrived(piece: _Piece) -> None:
        with lock:
            left[piece.name] -= 1
            if not left[piece.name]:
                done(piece.name)

    return arrived


def _read_pieces(checkpoint: TensorSource, pieces: Sequence[_Piece], arrived: Callable[[_Piece], None]) -> None:
    for piece in pieces:
        checkpoint.files.read_into(piece.path, piece.offset, piece.out)
        arrived(piece)


def _convert_all(checkpoint: TensorSource, fills: Sequence[Fill], done: Callable[[str], None]) -> None:
    for item in fills:
        _convert(checkpoint, item)
        done(item.name)


def _convert(checkpoint: TensorSource, item: Fill) -> None:
    """Copy a tensor, or its box, by more than one read.

    It has several chunks, or goes through slabs to another type, device or memory layout.
    """
    import torch

    entry = checkpoint.component(item.component).tensors[item.name]
    kind = torch_dtype(entry.dtype)
    target = item.target
    if target.dtype is kind and target.device.type == "cpu" and target.is_contiguous() and target.numel():
        checkpoint.read(item.component, item.name, box=item.box, out=writable_bytes(target))
        return
    first, shape = item.box or ((0,) * len(entry.shape), entry.shape)
    nbytes = entry.dtype.nbytes(prod(shape))
    buffer = memoryview(bytearray(max(min(knobs.slab_bytes(), nbytes), entry.dtype.itemsize)))
    with torch.no_grad():
        for offsets, sizes in slabs(shape, entry.dtype):
            count = prod(sizes)
            if not count:
                continue
            out = buffer[: entry.dtype.nbytes(count)]
            place = tuple(start + offset for start, offset in zip(first, offsets, strict=True))
            checkpoint.read(item.component, item.name, box=(place, sizes), out=out)
            slab = torch.frombuffer(out, dtype=kind).reshape(sizes)
            region = tuple(slice(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True))
            item.target.detach()[region].copy_(slab)
