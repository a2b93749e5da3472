"""Brings tensors to all ranks that have the same part.

Ranks that hold the same box of a tensor are a replica group: all of DDP, the replicating dimension of HSDP, buffers,
norms under tensor parallelism. A store that one rank asks, which sends the answer on, gives as many times fewer bytes
as there are replicas; a file of this machine is in its page cache after the first read, and another read of it is
cheaper than to send it. The tensors of a group are dealt out to its ranks by bytes, so that all of them read at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckpt_core.reading.torch.sharded.parts import FlatShards, LocalPart, is_dtensor
from ckpt_core.storage.ranks.group import GroupRanks, gone
from ckpt_core.storage.ranks.ranks import Ranks

if TYPE_CHECKING:
    import torch

AUTO, READ, BROADCAST = "auto", "read", "broadcast"
"""How replicas come to their bytes: as is cheaper, each by a read of its own, or from one that reads."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A part that other ranks have too.

    Attributes:
        groups: The groups that lead to all of them, one after the other.
        readers: Which rank of each group reads; the same at all of them.
    """

    part: LocalPart
    groups: tuple[Any, ...]
    readers: tuple[int, ...]

    @property
    def replicas(self) -> int:
        import torch.distributed as dist

        count = 1
        for group in self.groups:
            count *= dist.get_world_size(group)
        return count

    @property
    def is_mine(self) -> bool:
        """True on the rank that reads it."""
        import torch.distributed as dist

        return all(dist.get_rank(group) == reader for group, reader in zip(self.groups, self.readers, strict=True))

    def send(self) -> None:
        """Bring it from its reader to every rank that has it.

        Raises:
            UnreachableError: Another rank is gone.
        """
        import torch
        import torch.distributed as dist

        memory = self.part.memory
        whole = memory if memory.is_contiguous() else memory.contiguous()
        flat = whole.reshape(-1).view(torch.uint8)
        try:
            for group, reader in zip(self.groups, self.readers, strict=True):
                dist.broadcast(flat, group=group, group_src=reader)
        except RuntimeError as error:
            raise gone(error) from error
        if whole is not memory:
            memory.copy_(whole)


def replica_groups(tensor: "torch.Tensor | FlatShards", ranks: Ranks) -> tuple[Any, ...]:
    """Return the groups of ranks with the same part of a tensor."""
    if is_dtensor(tensor):
        placed: Any = tensor
        mesh, dims = placed.device_mesh, range(placed.device_mesh.ndim)
        return tuple(
            mesh.get_group(dim) for dim in dims if placed.placements[dim].is_replicate() and mesh.size(dim) > 1
        )
    if isinstance(tensor, FlatShards) or not isinstance(ranks, GroupRanks) or ranks.world == 1:
        return ()
    return ranks.groups


def deal_out(parts: "Sequence[tuple[torch.Tensor | FlatShards, LocalPart]]", ranks: Ranks) -> dict[int, Shared]:
    """Return the parts that have replicas, by their place.

    Every rank has the same sequence of tensors, and comes to the same readers.
    """
    import torch.distributed as dist

    read: dict[tuple[int, ...], list[int]] = {}
    found = {}
    for number, (tensor, part) in enumerate(parts):
        groups = replica_groups(tensor, ranks)
        if groups and part.nbytes:
            sizes = tuple(dist.get_world_size(group) for group in groups)
            taken = read.setdefault(tuple(map(id, groups)), [0] * _product(sizes))
            reader = taken.index(min(taken))
            taken[reader] += part.nbytes
            found[number] = Shared(part, groups, _coordinates(reader, sizes))
    return found


def _product(sizes: Sequence[int]) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count


def _coordinates(number: int, sizes: Sequence[int]) -> tuple[int, ...]:
    found = []
    for size in reversed(sizes):
        number, at = divmod(number, size)
        found.append(at)
    return tuple(reversed(found))
