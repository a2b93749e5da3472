"""Rank files as torch writes them, all by one process: its fake process group says of each rank in turn to be it."""

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.testing._internal.distributed.fake_pg import FakeStore


def save_ranks(folder, name_of, tensors, mesh_shape, placements, wrap=lambda rank, state: state):
    """Save one file a rank, with each tensor spread over a mesh.

    Args:
        folder: Where to.
        name_of: The name of a rank's file.
        tensors: The whole tensors, by name.
        mesh_shape: Sizes of the mesh.
        placements: For each tensor, one for each dimension of the mesh: the dimension it is cut along, or None.
        wrap: What to save of a rank's state dict.
    """
    world = torch.Size(mesh_shape).numel()
    hook = sys.excepthook
    for rank in range(world):
        dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
        try:
            mesh = init_device_mesh("cpu", tuple(mesh_shape))
            state = {name: _part(tensor, mesh, placements[name]) for name, tensor in tensors.items()}
            torch.save(wrap(rank, state), folder / name_of(rank))
        finally:
            dist.destroy_process_group()
            sys.excepthook = hook  # torch sets one of its own around the one before, each time


def _part(tensor, mesh, dims):
    placements = [Replicate() if dim is None else Shard(dim) for dim in dims]
    shape, offsets = compute_local_shape_and_global_offset(tensor.shape, mesh, placements)
    local = tensor[tuple(slice(start, start + size) for start, size in zip(offsets, shape, strict=True))]
    shown = {"shape": tensor.shape, "stride": tensor.stride()}
    return DTensor.from_local(local.clone(), mesh, placements, run_check=False, **shown)
