"""Run by torchrun on 4 ranks: rank files of FSDP1, FSDP2, HSDP, FSDP with tensor parallelism, and flat parameters.

Names are those of verl's FSDP checkpoint manager and of accelerate without DCP. What the tensors are as a whole is
saved beside each checkpoint, as `NAME.full.pt`, by torch's own gathering.
"""

import copy
import json
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

warnings.simplefilter("ignore")


class Model(torch.nn.Module):
    """Sizes that no number of ranks divides, a buffer that every rank has whole, a part that is not wrapped."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(7, 6)
        self.up = torch.nn.Linear(6, 10)
        self.down = torch.nn.Linear(10, 3)
        self.register_buffer("table", torch.arange(5.0))

    def forward(self, tokens):
        return self.down(torch.relu(self.up(self.embed(tokens))))


def trained(model, make_optimizer):
    optimizer = make_optimizer(model.parameters())
    torch.manual_seed(1)
    for _ in range(2):
        model(torch.randint(0, 7, (4, 3))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=0.01, foreach=False)


def gathered(tensor):
    """A ShardedTensor put together of every rank's shards."""
    shards = [(shard.metadata.shard_offsets, shard.tensor.clone()) for shard in tensor.local_shards()]
    every = [None] * dist.get_world_size()
    dist.all_gather_object(every, shards)
    result = torch.empty(tensor.size())
    for offsets, part in (shard for shards in every for shard in shards):
        result[tuple(slice(o, o + n) for o, n in zip(offsets, part.shape, strict=True))] = part
    return result


def whole(value):
    """A state with every sharded tensor gathered."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, ShardedTensor):
        return gathered(value)
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def save_verl(folder, model_state, optimizer_state, scheduler):
    """As verl's FSDPCheckpointManager.save_checkpoint names and fills the files."""
    rank, world = dist.get_rank(), dist.get_world_size()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(100 + rank)
    np.random.seed(rank)
    random.seed(rank)
    rng = {"cpu": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}
    torch.save(model_state, folder / f"model_world_size_{world}_rank_{rank}.pt")
    torch.save(optimizer_state, folder / f"optim_world_size_{world}_rank_{rank}.pt")
    extra = {"lr_scheduler": scheduler.state_dict(), "rng": rng}
    torch.save(extra, folder / f"extra_state_world_size_{world}_rank_{rank}.pt")
    if rank == 0:
        (folder / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": world}))
        (folder / "huggingface").mkdir(exist_ok=True)
        (folder / "huggingface" / "config.json").write_text("{}")


def save_full(path, content):
    if dist.get_rank() == 0:
        torch.save(content, path)


def scheduler_of(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (step + 1))


def fsdp1(out, model, mesh):
    """FSDP1 with a mesh: DTensors by name in the model and in the optimizer."""
    model = FullyShardedDataParallel(
        copy.deepcopy(model), device_id=torch.device("cpu"), device_mesh=mesh, use_orig_params=True
    )
    optimizer = trained(model, adam)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
        model_state, optimizer_state = model.state_dict(), FullyShardedDataParallel.optim_state_dict(model, optimizer)
    full = {"model": whole(model_state), "optimizer": whole(optimizer_state)}
    save_verl(out / "global_step_20" / "actor", model_state, optimizer_state, scheduler_of(optimizer))
    save_full(out / "fsdp1.full.pt", full)


def fsdp2(out, name, model, mesh):
    """FSDP2: DTensors, the optimizer's own state by index."""
    model = copy.deepcopy(model)
    for layer in (model.embed, model.up):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = trained(model, adam)
    full = {"model": whole(model.state_dict()), "optimizer": whole(optimizer.state_dict())}
    save_verl(out / name, model.state_dict(), optimizer.state_dict(), scheduler_of(optimizer))
    save_full(out / f"{name}.full.pt", full)


def tensor_parallel(out, model, mesh):
    """FSDP2 over tensor parallelism: strided shards of rows, and shards of columns."""
    model = copy.deepcopy(model)
    parallelize_module(model, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
    fully_shard(model, mesh=mesh["dp"])
    options = StateDictOptions(full_state_dict=True)
    full = {"model": get_model_state_dict(model, options=options)}
    folder = out / "tp"
    folder.mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / f"model_world_size_4_rank_{dist.get_rank()}.pt")
    save_full(out / "tp.full.pt", full)


def accelerate(out, model):
    """FSDP1 without a mesh: ShardedTensors, under accelerate's names."""
    rank, folder = dist.get_rank(), out / "accelerate"
    folder.mkdir(exist_ok=True)
    model = FullyShardedDataParallel(copy.deepcopy(model), device_id=torch.device("cpu"), use_orig_params=True)
    optimizer = trained(model, adam)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
        model_state, optimizer_state = model.state_dict(), FullyShardedDataParallel.optim_state_dict(model, optimizer)
    torch.save(model_state, folder / f"pytorch_model_fsdp_0_rank{rank}.bin")
    torch.save(optimizer_state, folder / f"optimizer_0_rank{rank}.bin")
    full = {"model": whole(model_state), "optimizer": whole(optimizer_state)}
    save_full(out / "accelerate.full.pt", full)
    local = out / "local"
    local.mkdir(exist_ok=True)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.LOCAL_STATE_DICT):
        torch.save(model.state_dict(), local / f"pytorch_model_fsdp_1_rank{rank}.bin")


def flat_optimizer(out, model):
    """FSDP1 without the names of parameters: the optimizer's own state says nothing of shapes."""
    folder = out / "plain"
    folder.mkdir(exist_ok=True)
    flat = FullyShardedDataParallel(copy.deepcopy(model), device_id=torch.device("cpu"))
    torch.save(trained(flat, adam).state_dict(), folder / f"optim_world_size_4_rank_{dist.get_rank()}.pt")


def main():
    out = Path(sys.argv[1])
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = Model()
    world = dist.get_world_size()
    line = init_device_mesh("cpu", (world,), mesh_dim_names=("fsdp",))
    square = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("dp", "tp"))
    fsdp1(out, model, line)
    fsdp2(out, "fsdp2", model, line)
    fsdp2(out, "hsdp", model, square)
    tensor_parallel(out, model, square)
    accelerate(out, model)
    flat_optimizer(out, model)
    dist.destroy_process_group()


main()
