"""Reads the parts of sharded tensors in one rank's file.

They are DTensor and ShardedTensor as torch.save writes them, read without torch.

What a file says of such a tensor is taken from records, never run: the whole's shape, and which boxes of it the
elements in this file are. A file of one rank so has the tensor with holes, which the files of the others fill.

Sources: torch, `torch/distributed/tensor/placement_types.py` (Shard.local_shard_size_and_offset and
_StridedShard._split_tensor), `torch/distributed/tensor/_utils.py` (_compute_local_shape_and_global_offset),
`torch/distributed/device_mesh.py`, `torch/distributed/_shard/sharded_tensor/api.py` (__getstate__).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

from ckpt_core.codecs.pickle.placements import Split, split_evenly
from ckpt_core.codecs.pickle.records import Recorded, TensorRecord
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable

# A strided shard has as many pieces as the dimension it interleaves with has ranks.
_MOST_PIECES = 1024
_PACKAGE = "torch.distributed."


class Piece(NamedTuple):
    """A box of the whole tensor at `offsets`.

    `local` is the view of the file's tensor that has its elements.
    """

    offsets: tuple[int, ...]
    local: TensorRecord


@dataclass(frozen=True, slots=True)
class Sharding:
    """A file's record of how a tensor is spread over ranks.

    Attributes:
        kind: `DTensor` or `ShardedTensor`.
        mesh: Sizes of the mesh of ranks; of a ShardedTensor the number of ranks.
        placements: How it lies on each dimension of the mesh, as torch prints it; empty for a ShardedTensor.
        coordinate: This rank's place in the mesh; None for a ShardedTensor.
        rank: The rank that saved it; None where the file does not say.
        complete: Whether this file alone has all elements.
        world: How many ranks there were, of which the mesh may have some; None where the file does not say.
    """

    kind: str
    mesh: tuple[int, ...]
    placements: tuple[str, ...]
    coordinate: tuple[int, ...] | None
    rank: int | None
    complete: bool
    world: int | None = None


class ShardedRecord(NamedTuple):
    """One rank's part of a tensor.

    Type and shape are those of the whole; the pieces are those in the file.
    """

    dtype: DType
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    sharding: Sharding


class NotPlacedError(Exception):
    """The place of a rank's part in the whole is unknown.

    The text says why.
    """


def sharded_record(class_name: str, tensor: Any, state: Any) -> ShardedRecord | None:
    """Return one rank's part of a tensor of a wrapper class.

    None for classes that are not spread over ranks.

    Args:
        class_name: Full name of the class.
        tensor: What `_rebuild_wrapper_subclass` was called with, recorded.
        state: What would be set on the tensor.

    Raises:
        NotPlacedError: It is one, and its part of the whole cannot be told.
    """
    kind = class_name.rpartition(".")[2]
    if not class_name.startswith(_PACKAGE) or kind not in ("DTensor", "ShardedTensor"):
        return None
    try:
        return _dtensor(tensor, state) if kind == "DTensor" else _sharded_tensor(state)
    except (LookupError, TypeError, ValueError) as error:
        raise NotPlacedError(f"its description is not the one that is known ({error})") from error


def parts_finding(sharded: Mapping[str, Sharding], path: str) -> list[Finding]:
    """Return TF009 where a file has only parts of tensors.

    Nothing where it has no such tensor, or all of each.
    """
    names = [name for name, sharding in sharded.items() if not sharding.complete]
    if not names:
        return []
    first = sharded[names[0]]
    rank = "a rank" if first.rank is None else f"rank {first.rank}"
    count = f"{len(names)} tensors are" if len(names) > 1 else f"{printable(names[0])} is"
    message = f"{count} the part that {rank} of {prod(first.mesh)} has; the files of the other ranks have the rest"
    hint = "open the directory that has the files of all ranks"
    return [Finding("TF009", Severity.WARNING, f"{printable(path)}: {message}", path, names[0], hint)]


def _dtensor(tensor: Any, state: Any) -> ShardedRecord:
    fields = _fields(state)
    local, spec = fields["_local_tensor"], _fields(fields["_spec"])
    if type(local) is not TensorRecord:
        raise NotPlacedError("its local part is not a plain strided tensor")
    shape = _sizes(tensor.args[2])
    mesh = _fields(spec["mesh"])
    sizes, coordinate = _mesh_sizes(mesh), _coordinate(mesh)
    placements = spec["placements"]
    if len(placements) != len(sizes):
        raise ValueError("placements for another mesh")
    shown = tuple(_shown(placement) for placement in placements)
    pieces = _pieces(shape, local, _splits(shape, placements, sizes, coordinate, spec.get("shard_order")))
    rank, world = _rank(mesh.get("_rank")), _world(mesh)
    sharding = Sharding("DTensor", sizes, shown, coordinate, rank, _complete(pieces, shape), world)
    return ShardedRecord(local.dtype, shape, pieces, sharding)


def _sharded_tensor(state: Any) -> ShardedRecord:
    shards, metadata, group = state[0], _fields(state[1]), _fields(state[2])
    shape = _sizes(metadata["size"])
    dtype = _dtype(metadata["tensor_properties"])
    pieces = []
    for shard in map(_fields, shards):
        box = _fields(shard["metadata"])
        pieces.append(_box(_sizes(box["shard_offsets"]), _sizes(box["shard_sizes"]), shard["tensor"]))
    ranks = _sizes([group["global_world_size"]])
    kept = tuple(piece for piece in pieces if prod(piece.local.shape))
    rank = _rank(group["global_rank"])
    return ShardedRecord(dtype, shape, kept, Sharding("ShardedTensor", ranks, (), None, rank, _complete(pieces, shape)))


def _box(offsets: tuple[int, ...], sizes: tuple[int, ...], local: Any) -> Piece:
    if type(local) is not TensorRecord:
        raise NotPlacedError("its local part is not a plain strided tensor")
    if local.shape != sizes or len(offsets) != len(sizes):
        raise NotPlacedError(f"its local part has shape {local.shape}, and the box {sizes}")
    return Piece(offsets, local)


def _complete(pieces: Sequence[Piece], shape: tuple[int, ...]) -> bool:
    return sum(prod(piece.local.shape) for piece in pieces) == prod(shape)


def _splits(
    shape: tuple[int, ...],
    placements: Sequence[Any],
    mesh: tuple[int, ...],
    coordinate: tuple[int, ...],
    order: Any,
) -> list[list[Split]]:
    """Return the splits of each dimension, in their order."""
    splits: list[list[Split]] = [[] for _ in shape]
    for axis in _order(order, len(mesh)):
        placement = placements[axis]
        kind, fields = placement.class_name.rpartition(".")[2], _fields(placement)
        if kind == "Replicate":
            continue
        if kind not in ("Shard", "_StridedShard"):
            raise NotPlacedError(f"its placement {_shown(placement)} is a result that the ranks have yet to sum up")
        (dim,) = _sizes([fields["dim"]])
        (factor,) = _sizes([fields["split_factor"]]) if kind == "_StridedShard" else (1,)
        splits[dim].append(Split(mesh[axis], coordinate[axis], factor))
    return splits


def _order(entries: Any, axes: int) -> list[int]:
    """Return the dimensions of the mesh in splitting order.

    They go from the first to the last, unless the file says otherwise.
    """
    said = [axis for entry in entries or () for axis in _sizes(entry.args[1])]
    if len(set(said)) != len(said):
        raise ValueError("a dimension of the mesh that cuts twice")
    return [*said, *(axis for axis in range(axes) if axis not in said)]


def _pieces(shape: tuple[int, ...], local: TensorRecord, splits: list[list[Split]]) -> tuple[Piece, ...]:
    """Return the boxes that a rank has of a tensor.

    Each has the part of the local tensor that has the elements.

    Raises:
        NotPlacedError: The local tensor has another shape than its placements leave.
    """
    intervals = [split_evenly(size, cuts, most=_MOST_PIECES) for size, cuts in zip(shape, splits, strict=True)]
    expected = tuple(sum(length for _, length in each) for each in intervals)
    if expected != local.shape:
        raise NotPlacedError(f"its local part has shape {local.shape}, and its placements leave {expected}")
    if prod(map(len, intervals)) > _MOST_PIECES:
        raise NotPlacedError(f"its local part is of more than {_MOST_PIECES} pieces")
    return tuple(_piece(local, parts) for parts in product(*map(_with_starts, intervals)))


def _with_starts(intervals: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return each interval with its start in the local tensor.

    There the intervals follow each other.
    """
    placed, start = [], 0
    for offset, length in intervals:
        placed.append((offset, length, start))
        start += length
    return placed


def _piece(local: TensorRecord, parts: Sequence[tuple[int, int, int]]) -> Piece:
    skipped = sum(start * stride for (_, _, start), stride in zip(parts, local.strides, strict=True))
    shape = tuple(length for _, length, _ in parts)
    view = TensorRecord(local.storage, local.dtype, local.offset + skipped, shape, local.strides)
    return Piece(tuple(offset for offset, _, _ in parts), view)


def _mesh_sizes(mesh: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the sizes of a DeviceMesh.

    They are those of its tensor of ranks, or since torch 2.9 of its layout.
    """
    ranks = mesh.get("mesh")
    if type(ranks) is TensorRecord:
        return ranks.shape
    layout = _fields(mesh["_layout"])
    axes = [_fields(axis)["shape"] for axis in layout["axes"]] if "axes" in layout else layout["shape"]
    if type(axes) is int:
        axes = (axes,)
    return tuple(_flat_product(axis) for axis in axes)


def _world(mesh: Mapping[str, Any]) -> int | None:
    """Return how many ranks the mesh was made among.

    The mesh may have a part of them; known since torch 2.9.
    """
    ranks = mesh.get("_flatten_rank_map")
    return len(ranks) if type(ranks) is tuple and ranks else None


def _flat_product(sizes: Any) -> int:
    """Return the number of ranks along a mesh dimension.

    It may be several dimensions made one.
    """
    if type(sizes) is tuple:
        return prod(map(_flat_product, sizes))
    return _sizes([sizes])[0]


def _coordinate(mesh: Mapping[str, Any]) -> tuple[int, ...]:
    coordinate = mesh["_coordinate_on_dim"]
    if coordinate is None:
        raise NotPlacedError("the rank that saved it is not in its mesh")
    return _sizes(coordinate)


def _fields(value: Any) -> dict[str, Any]:
    """Return the attributes of a recorded object, or of a state.

    A state is a dict, or a pair of dict and slots.

    Raises:
        TypeError: It has none.
    """
    state = value.state if isinstance(value, Recorded) else value
    parts = state if type(state) is tuple else (state,)
    fields: dict[str, Any] = {}
    for part in parts:
        if part is not None:
            fields.update(part if isinstance(part, dict) else _no_fields(part))
    return fields


def _no_fields(part: Any) -> dict[str, Any]:
    raise TypeError(f"a {type(part).__name__} in place of attributes")


def _sizes(numbers: Any) -> tuple[int, ...]:
    if type(numbers) not in (tuple, list) or any(type(n) is not int or not 0 <= n < 1 << 63 for n in numbers):
        raise TypeError("something else in place of sizes")
    return tuple(numbers)


def _rank(value: Any) -> int | None:
    return value if type(value) is int else None


def _dtype(properties: Any) -> DType:
    from ckpt_core.codecs.torch_dtypes import BY_DTYPE_NAME

    state = properties.state
    dtype = state[0] if type(state) is tuple else _fields(properties)["dtype"]
    return BY_DTYPE_NAME[dtype.args[0]]


def _shown(placement: Any) -> str:
    """Return a placement as torch prints it."""
    arguments = ", ".join(f"{key}={value}" for key, value in _fields(placement).items())
    return f"{placement.class_name.rpartition('.')[2]}({arguments})"
