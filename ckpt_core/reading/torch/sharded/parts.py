"""The part of a sharded tensor on this rank.

It is memory, and the box of the whole that lies there.

DTensors say it by the protocol that torch.distributed.checkpoint asks them by (`__create_chunk_list__`), the
ShardedTensors of FSDP1 by their local shards. Every other tensor is whole on its rank.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.tensors import Box
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class LocalPart:
    """Memory, and its box of a tensor; None for all."""

    memory: "torch.Tensor"
    box: Box | None = None

    @property
    def nbytes(self) -> int:
        nbytes: int = self.memory.numel() * self.memory.element_size()
        return nbytes


class FlatShards:
    """A ShardedTensor with the attributes of other tensors.

    Asking it for them itself is deprecated.
    """

    is_meta = False

    def __init__(self, tensor: Any) -> None:
        about = tensor.metadata()
        self.shape: tuple[int, ...] = tuple(about.size)
        self.dtype: torch.dtype = about.tensor_properties.dtype
        self.local_shards = tensor.local_shards

    def numel(self) -> int:
        return prod(self.shape)


def is_dtensor(tensor: Any) -> bool:
    """Return True for a tensor that is spread over a mesh."""
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "placements")


def is_sharded(tensor: Any) -> bool:
    """Return True for a tensor that may be partly on this rank."""
    return is_dtensor(tensor) or hasattr(tensor, "local_shards")


def local_parts(name: str, tensor: "torch.Tensor | FlatShards") -> list[LocalPart]:
    """Return the parts of a tensor on this rank.

    It is one, but of a ShardedTensor none or several.

    Raises:
        UnsupportedFormatError: Its elements are sums that were not taken yet, or lie in no one box.
    """
    if is_dtensor(tensor):
        return [_part_of_dtensor(name, tensor)]
    if isinstance(tensor, FlatShards):
        return [
            LocalPart(shard.tensor.detach(), (tuple(shard.metadata.shard_offsets), tuple(shard.metadata.shard_sizes)))
            for shard in tensor.local_shards()
        ]
    return [LocalPart(tensor.detach())]


def like_part(tensor: "torch.Tensor", made: "torch.Tensor") -> "torch.Tensor":
    """Return a DTensor placed as another, over this rank's part."""
    from torch.distributed.tensor import DTensor

    placed: Any = tensor
    return DTensor.from_local(
        made, placed.device_mesh, placed.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )


def _part_of_dtensor(name: str, tensor: Any) -> LocalPart:
    if any(placement.is_partial() for placement in tensor.placements):
        raise UnsupportedFormatError(
            f"{printable(name)}: its elements are partial sums of the ranks; redistribute it before it is loaded"
        )
    memory = tensor.detach().to_local()
    chunks = tensor.__create_chunk_list__()
    boxes = [(tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in chunks]
    if len(boxes) != 1 or boxes[0][1] != tuple(memory.shape):
        raise UnsupportedFormatError(
            f"{printable(name)}: its part on this rank is no one box of it ({tensor.placements}); "
            "shard it along whole dimensions"
        )
    return LocalPart(memory, boxes[0])
