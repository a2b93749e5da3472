"""Returns a component's tensors as torch tensors.

Mapped from the file, read into one buffer of our own, or cast on the way.

Tensors that lie in one raw row-major chunk (nearly all) are views of one storage a file: no object a tensor besides the
view. Such views share that storage: `torch.save` of one would write all. `separate=True` gives each its own.
"""

import mmap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.log import Logger
from ckpt_core.reading.torch.memory import (
    map_region,
    read_region,
    torch_dtype,
    writable_bytes,
)
from ckpt_core.reading.torch.new_memory import empty_tensors
from ckpt_core.reading.torch.source import TensorSource
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import DType, dtype_named
from ckpt_core.schema.tensors import TensorInfo, row_major_strides
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    import torch

_log = Logger(__name__)


def to_torch(
    checkpoint: TensorSource,
    label: str,
    names: Iterable[str] | None = None,
    *,
    mapped: bool = False,
    checked: bool = False,
    separate: bool = False,
    dtype: "torch.dtype | DType | str | None" = None,
) -> "dict[str, torch.Tensor]":
    """Return a component's tensors on the CPU, by name.

    See `StoredCheckpoint.to_torch`.
    """
    checkpoint.confirm()
    table = checkpoint.component(label).tensors
    wanted = list(table if names is None else names)
    if checked and mapped:
        for name in wanted:
            checkpoint.prove(label, name)
    tensors = _all(checkpoint, label, wanted, mapped, separate, dtype)
    checkpoint.finish()
    return tensors


def _all(
    checkpoint: TensorSource,
    label: str,
    names: list[str],
    mapped: bool,
    separate: bool,
    dtype: "torch.dtype | DType | str | None",
) -> "dict[str, torch.Tensor]":
    table = checkpoint.component(label).tensors
    if dtype is not None:
        return _cast(checkpoint, label, names, dtype_named(dtype))
    plain: dict[str, list[tuple[str, TensorInfo]]] = {}
    result: dict[str, Any] = dict.fromkeys(names)
    others: list[str] = []
    for name in result:
        info = table.info(name)
        if info.path is None or not info.dtype.itemsize:
            others.append(name)
        else:
            plain.setdefault(info.path, []).append((name, info))
    for path, infos in plain.items():
        result.update(_views(checkpoint.files, path, infos, mapped))
    for name in others:
        result[name] = _read_alone(checkpoint, label, name, result)
    if separate:
        return {name: tensor.clone() for name, tensor in result.items()}
    return result


def _views(files: Files, path: str, infos: list[tuple[str, TensorInfo]], mapped: bool) -> "dict[str, torch.Tensor]":
    """Return these tensors as views into one buffer.

    It holds the stretch of a file from the first of these tensors to the last.
    """
    import torch

    # One buffer a file and one tensor a type over it; each weight is a window of that. Twenty thousand windows cost
    # less than twenty thousand reads, and a mapping may begin at a page only.
    start = min(info.offset for _, info in infos)
    start -= start % mmap.ALLOCATIONGRANULARITY
    end = max(info.offset + info.nbytes for _, info in infos)
    if end == start:
        return {name: torch.empty(o.shape, dtype=torch_dtype(o.dtype)) for name, o in infos}
    local = files.local_path(path)
    if mapped and local is not None:
        buffer = map_region(files, path, local, start, end - start)
    else:
        buffer = read_region(files, path, start, end - start)
    whole = torch.frombuffer(buffer, dtype=torch.uint8, count=end - start)
    typed: dict[tuple[DType, int], torch.Tensor] = {}
    strides: dict[tuple[int, ...], tuple[int, ...]] = {}
    result = {}
    for name, (dtype, shape, _, offset, _) in infos:
        width = dtype.itemsize
        shift = (offset - start) % width
        base = typed.get((dtype, shift))
        if base is None:
            usable = (len(whole) - shift) // width * width
            if shift:  # torch wants whole elements from the start of a storage: what is not aligned is copied once
                base = whole[shift : shift + usable].clone().view(torch_dtype(dtype))
            else:
                base = whole[:usable].view(torch_dtype(dtype))
            typed[dtype, shift] = base
        steps = strides.get(shape)
        if steps is None:
            steps = strides[shape] = row_major_strides(shape)
        result[name] = base.as_strided(shape, steps, (offset - start - shift) // width)
    return result


def _read_alone(checkpoint: TensorSource, label: str, name: str, done: "dict[str, Any]") -> "torch.Tensor":
    """Read a tensor into memory of its own.

    It is strided, in several chunks or not in the machine's byte order.
    """
    import torch

    entry = checkpoint.component(label).tensors[name]
    if entry.alias_of is not None and done.get(entry.alias_of) is not None:
        return done[entry.alias_of]
    dtype = torch_dtype(entry.dtype) if entry.dtype.itemsize else None
    if dtype is None:
        raise UnsupportedFormatError(f"{printable(name)}: torch has no {entry.dtype.code}; read its bytes with .read")
    tensor = torch.empty(entry.shape, dtype=dtype)
    if entry.numel:
        checkpoint.read(label, name, out=writable_bytes(tensor))
    return tensor


def _cast(checkpoint: TensorSource, label: str, names: list[str], dtype: DType) -> "dict[str, torch.Tensor]":
    """Return tensors with the floating ones cast to `dtype`.

    Those of 16 bits and more are cast; each is in memory of its own.
    """

    from ckpt_core.reading.casting.rules import cast_types
    from ckpt_core.reading.torch.fill import Fill, fill_tensors

    if not dtype.is_float or dtype.bits < 16:
        raise UsageError(f"{dtype.code}: tensors are cast to floating types of 16 bits and more")
    component = checkpoint.component(label)
    types, uncast = cast_types(component, [("*/*", dtype)])
    for one in uncast:
        _log.info("%s: kept their types: %s", checkpoint.location, one.summary)
    infos = [component.tensors.info(name) for name in names]
    kinds = [(info.shape, torch_dtype(types.get(name, info.dtype))) for name, info in zip(names, infos, strict=True)]
    result = dict(zip(names, empty_tensors(kinds), strict=True))
    fill_tensors(checkpoint, [Fill(tensor, label, name) for name, tensor in result.items()], done=lambda _: None)
    return result
