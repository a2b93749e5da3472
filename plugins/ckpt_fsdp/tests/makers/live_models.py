"""Tiny models as torch.distributed spreads them over ranks, each with values of its own, and how to tell them apart."""

import hashlib

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

ROWS = 2**11
"""Rows of the one tensor that is large enough to lie in several blocks of a seal."""


class Toy(nn.Module):
    """Rows that no number of ranks divides (7, 5, 3), one row, a buffer, and a tensor of two megabytes."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(7, 6)
        self.up = nn.Linear(6, 5)
        self.wide = nn.Linear(5, ROWS)
        self.narrow = nn.Linear(ROWS, 5, bias=False)
        self.large = nn.Parameter(torch.randn(ROWS, 257))
        self.scale = nn.Parameter(torch.randn(1))
        self.head = nn.Linear(5, 3, bias=False)
        self.register_buffer("counts", torch.arange(11) + seed)

    def forward(self, tokens):
        hidden = self.narrow(torch.relu(self.wide(self.up(self.embed(tokens)))))
        return self.head(hidden) * self.scale + self.large.sum() / self.large.numel()


def fsdp2(mesh, seed=0, dtype=None):
    model = Toy(seed) if dtype is None else Toy(seed).to(dtype)
    for part in (model.embed, model.up, model.wide, model.head):
        fully_shard(part, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def fsdp1(seed=0, **how):
    return FullyShardedDataParallel(Toy(seed), device_id=torch.device("cpu"), **how)


def ddp(seed=0):
    return DistributedDataParallel(Toy(seed))


def tensor_parallel(mesh, seed=0):
    model = Toy(seed)
    plan = {"wide": ColwiseParallel(), "narrow": RowwiseParallel()}
    return parallelize_module(model, mesh, plan)


def both(mesh, seed=0):
    """Tensor parallelism within FSDP: a mesh of two dimensions."""
    model = tensor_parallel(mesh["tp"], seed)
    fully_shard(model.wide, mesh=mesh["dp"])
    return fully_shard(model, mesh=mesh["dp"])


def adamw(model, steps=2):
    """An optimizer with moments that differ in every element."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=False)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            whole = torch.randn(parameter.shape, generator=generator)
            parameter.grad = placed_as(parameter, whole)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def placed_as(tensor, whole):
    """A whole tensor, placed as another one is; no rank tells another anything."""
    if not isinstance(tensor, DTensor):
        return whole.to(tensor.dtype)
    (chunk,) = tensor.__create_chunk_list__()
    box = tuple(slice(start, start + size) for start, size in zip(chunk.offsets, chunk.sizes, strict=True))
    made = whole[box].to(tensor.dtype).contiguous()
    return DTensor.from_local(
        made, tensor.device_mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )


def whole(value):
    """A tree of tensors with every DTensor whole; all of its ranks call it."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value.clone() if isinstance(value, torch.Tensor) else value


def local_digest(model):
    """A digest of what this rank holds of a model."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        if hasattr(local, "local_shards"):
            local = torch.cat([shard.tensor.flatten() for shard in local.local_shards()] or [torch.empty(0)])
        digest.update(name.encode() + local.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def mesh_of(ranks, **how):
    return DeviceMesh("cpu", ranks, **how)


def every(value):
    """The value of each rank of all."""
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def distribute(tensor, mesh):
    """A whole tensor in rows over a mesh; no rank tells another anything."""
    rows = torch.chunk(tensor, mesh.size())[mesh.get_local_rank()].contiguous()
    return DTensor.from_local(rows, mesh, [Shard(0)], run_check=False, shape=tensor.shape, stride=tensor.stride())


def of_tensors(tensors, mesh):
    """A module with these tensors for parameters, in rows over a mesh."""
    model = nn.Module()
    model.layers = nn.ParameterList([nn.Parameter(distribute(tensor, mesh)) for tensor in tensors.values()])
    return model


def bytes_read():
    """Bytes that this process has asked files for."""
    with open("/proc/self/io") as counts:
        return int(next(line for line in counts if line.startswith("rchar")).split()[1])
