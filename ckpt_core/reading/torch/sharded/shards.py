"""Finds the boxes of a distributed tensor that this rank holds.

Sources: torch, `torch/distributed/checkpoint/planner_helpers.py` (what it asks of a DTensor and of a ShardedTensor).
"""

from math import prod
from typing import Any, NamedTuple

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.tensors import Box
from ckpt_core.schema.text import printable


class Shards(NamedTuple):
    """A tensor that is spread over ranks, as one sees it.

    Attributes:
        shape: Of the whole tensor, in elements.
        held: The boxes that are here, each with its memory, a plain tensor; none where this rank has no element.
    """

    shape: tuple[int, ...]
    held: list[tuple[Box, Any]]


def shards_of(tensor: Any, path: str) -> Shards | None:
    """Return the shards of a DTensor or a ShardedTensor.

    None for any other tensor.

    Raises:
        UnsupportedFormatError: Its value is a sum over ranks that was not made yet.
    """
    if hasattr(tensor, "device_mesh") and hasattr(tensor, "placements"):
        return _of_dtensor(tensor, path)
    if callable(getattr(tensor, "local_shards", None)):
        return _of_sharded_tensor(tensor)
    return None


def _of_dtensor(tensor: Any, path: str) -> Shards:
    if any(placement.is_partial() for placement in tensor.placements):
        raise UnsupportedFormatError(
            f"{printable(path)}: is a sum over ranks that was not made yet (Partial); redistribute it first"
        )
    local = tensor.detach().to_local()
    chunks = tensor.__create_chunk_list__() if local.numel() or not tensor.numel() else ()
    boxes = [(tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in chunks]
    if len(boxes) > 1 or any(box[1] != tuple(local.shape) for box in boxes):
        raise UnsupportedFormatError(
            f"{printable(path)}: what this rank holds of it is not one box; redistribute it first"
        )
    return Shards(tuple(tensor.shape), [(box, local) for box in boxes])


def _of_sharded_tensor(tensor: Any) -> Shards:
    held = [
        ((tuple(shard.metadata.shard_offsets), tuple(shard.metadata.shard_sizes)), shard.tensor.detach())
        for shard in tensor.local_shards()
    ]
    shape = tuple(tensor.metadata().size)
    return Shards(shape, [one for one in held if prod(one[0][1]) or not prod(shape)])
