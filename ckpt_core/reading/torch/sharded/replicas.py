"""Brings tensors to all ranks that have the same part.

Ranks that hold the same box of a tensor are a replica group: all of DDP, the replicating dimension of HSDP, buffers,
norms under tensor parallelism. What is cheaper is decided by the bytes that the source is asked for: a store once by
each replica, a mount over a network once by each machine, whose page cache has it then, and a disk of this machine by
nobody but its own ranks. Where one rank that reads and sends asks for fewer, it does. The tensors of a group are dealt
out to its ranks by bytes, so that all of them read at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpt_core.reading.torch.sharded.parts import FlatShards, LocalPart, is_dtensor
from ckpt_core.schema.access import Files
from ckpt_core.storage.files.mount_kinds import is_over_network, kernel, kind_of_mount
from ckpt_core.storage.ranks.group import GroupRanks, gone
from ckpt_core.storage.ranks.ranks import Ranks

if TYPE_CHECKING:
    import torch

AUTO, READ, BROADCAST = "auto", "read", "broadcast"
"""How replicas come to their bytes: as is cheaper, each by a read of its own, or from one that reads."""


class Asked(NamedTuple):
    """The bytes that the ranks ask a source for.

    Attributes:
        once: Where one rank of each replica group reads.
        each: Where all that have a part read it.
        source: What it is, in words.
    """

    once: int
    each: int
    source: str

    def said(self, broadcast: bool, tensors: int) -> str:
        """Return in words how replicas come to their bytes."""
        how = "one rank of each replica group and sent on" if broadcast else "every rank that has them"
        this, other = (self.once, self.each) if broadcast else (self.each, self.once)
        instead = f"not {other}" if broadcast else f"and for {other} with a broadcast"
        told = f"{this} bytes, {'either way' if this == other else instead}"
        return f"{tensors} tensors are read by {how}: {self.source} is asked for {told}"


def asked_of(files: Files, dealt: "Mapping[int, Shared]", ranks: Ranks) -> Asked:
    """Return the bytes that a listing is asked for.

    Every rank calls it with what it has of its replica groups; the greatest counts.
    """
    once = sum(one.part.nbytes for one in dealt.values())
    every = sum(one.part.nbytes * one.replicas for one in dealt.values())
    told = ranks.exchange([_kind_of(files), kernel(), once, every])
    kinds = [kind for kind, *_ in told]
    once, every = max(one[2] for one in told), max(one[3] for one in told)
    if _STORE in kinds:
        return Asked(once, every, "the store")
    machines = len({name for _, name, *_ in told})
    if _MOUNT in kinds:
        return Asked(once, once * machines, f"what {machines} machines have mounted")
    return Asked(once, once, "each machine's disk")


_STORE, _MOUNT, _DISK = "store", "mount", "disk"


def _kind_of(files: Files) -> str:
    path = next((files.local_path(path) for path in files.entries), None)
    if path is None:
        return _STORE if files.entries else _DISK
    return _MOUNT if is_over_network(kind_of_mount(path)) else _DISK


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
