"""The part of a sharded tensor on this rank.

It is memory, and the box of the whole that lies there. A tensor that is not distributed is whole on its rank.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from ckpt_core.reading.torch.sharded.shards import shards_of
from ckpt_core.schema.tensors import Box

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
        self.inner = tensor

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

    It is one, but of a ShardedTensor none or several; of what has no element here there is none.

    Raises:
        UnsupportedFormatError: Its elements are sums that were not taken yet, or lie in no one box.
    """
    shards = shards_of(tensor.inner if isinstance(tensor, FlatShards) else tensor, name)
    if shards is None:
        whole: Any = tensor
        return [LocalPart(whole.detach())]
    return [LocalPart(memory, box) for box, memory in shards.held]


def local_shape(tensor: "torch.Tensor") -> tuple[int, ...]:
    """Return the shape of a DTensor's memory on this rank."""
    placed: Any = tensor
    return tuple(placed.detach().to_local().shape)


def like_part(tensor: "torch.Tensor", made: "torch.Tensor") -> "torch.Tensor":
    """Return a DTensor placed as another, over this rank's part."""
    from torch.distributed.tensor import DTensor

    placed: Any = tensor
    return DTensor.from_local(
        made, placed.device_mesh, placed.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )
