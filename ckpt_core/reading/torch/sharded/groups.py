"""The ranks that a model or an optimizer is spread over.

They do together what is done to it.
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UsageError
from ckpt_core.reading.torch.sharded.parts import is_dtensor, is_sharded
from ckpt_core.storage.ranks.ranks import ALONE, Ranks

if TYPE_CHECKING:
    import torch


def ranks_of_module(module: "torch.nn.Module") -> Ranks:
    """Return the ranks that a module is spread over, or copied to.

    Any other module is of this process alone.

    Raises:
        UsageError: Its meshes are of different ranks, and no one mesh or group holds them all.
    """
    if not _several():
        return ALONE
    kinds = [type(part).__name__ for part in module.modules()]
    if "FullyShardedDataParallel" in kinds and has_fsdp1(module):
        return _all_ranks()
    from torch.nn.parallel import DistributedDataParallel

    if isinstance(module, DistributedDataParallel):
        return _of_groups([module.process_group])
    return ranks_of_tensors([*module.parameters(), *module.buffers()])


def ranks_of_tensors(tensors: "Iterable[torch.Tensor]") -> Ranks:
    """Return the ranks that tensors are spread over.

    It is this process alone where none is. Raises as above.
    """
    if not _several():
        return ALONE
    sharded = [tensor for tensor in tensors if is_sharded(tensor)]
    if not sharded:
        return ALONE
    if not all(is_dtensor(tensor) for tensor in sharded):
        return _all_ranks()
    return _of_meshes(list(dict.fromkeys(tensor.device_mesh for tensor in sharded)))


def has_fsdp1(module: "torch.nn.Module") -> bool:
    """Return True for a module with flat parameters of FullyShardedDataParallel."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and any(isinstance(part, fsdp.FullyShardedDataParallel) for part in module.modules())


def _of_meshes(meshes: list[Any]) -> Ranks:
    import torch.distributed as dist

    ranks = {rank for mesh in meshes for rank in mesh.mesh.flatten().tolist()}
    if len(ranks) == dist.get_world_size():
        return _all_ranks()
    largest = max(meshes, key=lambda mesh: mesh.size())
    if largest.size() < len(ranks):
        raise UsageError(
            f"the model's {len(meshes)} meshes are of different ranks, {len(ranks)} of the {dist.get_world_size()} "
            "that there are; load each of its parts by itself"
        )
    return _of_groups(list(reversed(largest.get_all_groups())))


def _all_ranks() -> Ranks:
    import torch.distributed as dist

    return _of_groups([dist.group.WORLD])


def _of_groups(groups: list[Any]) -> Ranks:
    from ckpt_core.storage.ranks.group import GroupRanks

    return GroupRanks(groups)


def _several() -> bool:
    """Return True if torch.distributed is in use, without importing it."""
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized()
