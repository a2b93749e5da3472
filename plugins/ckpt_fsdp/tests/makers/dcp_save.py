"""Run by torchrun: saves with stock torch.distributed.checkpoint, of everything that it is given in practice."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardedStateDictConfig, StateDictType, fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

DTYPES = (torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int8, torch.bool, torch.uint16)
SMALL = (torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64)


class Toy(nn.Module):
    """Rows that no number of ranks divides: 7, 5 and 3."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.hidden = nn.Linear(6, 5)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 3, bias=False)
        self.register_buffer("counts", torch.arange(11))

    def forward(self, tokens):
        return self.head(self.norm(torch.relu(self.hidden(self.embed(tokens)))))


def train(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=False)
    for step in range(2):
        model(torch.tensor([step, 3, 6])).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def plain():
    whole = torch.arange(60.0).reshape(4, 5, 3)
    return {
        "model": {
            "row_major": whole,
            "transposed": whole.permute(2, 0, 1),
            "every_second": whole[:, ::2],
            "channels_last": torch.arange(120.0).reshape(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
            "scalar": torch.tensor(2.5),
            "empty": torch.empty(0, 3),
            "a part of a larger one": torch.arange(1000.0)[10:20],
            **{str(dtype): torch.arange(-3, 3).to(dtype) for dtype in (*DTYPES, *SMALL)},
        },
        "step": 17,
        "nested": {"list": [1, "two", 3.0], "tuple": (1, None), "tensors": [torch.ones(2), torch.zeros(3)]},
        "pair": (torch.full((2, 2), 7.0), "beside a tensor"),
        "rng": {"torch": torch.get_rng_state(), "text": "státe", "bytes": b"\x00\xff"},
    }


def placed(mesh):
    ranks = dist.get_world_size()
    generator = torch.Generator().manual_seed(4)
    whole = torch.randn(2 * ranks + 1, 2 * ranks + 1, generator=generator)
    return {
        "rows": distribute_tensor(whole, mesh, [Shard(0)]),
        "columns": distribute_tensor(whole, mesh, [Shard(1)]),
        "everywhere": distribute_tensor(whole, mesh, [Replicate()]),
        "one row": distribute_tensor(whole[:1], mesh, [Shard(0)]),
    }


def save(state, folder, name):
    dcp.save(state, checkpoint_id=folder / name)


def main(folder):
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    save(plain(), folder, "plain")
    save(placed(mesh), folder, "placed")

    model = Toy()
    for part in (model.embed, model.hidden, model.head):
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = train(model)
    state, optimizer_state = get_state_dict(model, optimizer)
    with torch.no_grad():
        ema = {name: tensor * 0.5 for name, tensor in state.items() if tensor.is_floating_point()}
    whole = {"model": state, "ema": ema, "optimizer": optimizer_state, "step": 2}
    save(whole, folder, "step-2/fsdp2")
    save({"app": whole}, folder, "app")
    save(state, folder, "flat")
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    state, optimizer_state = get_state_dict(model, optimizer, options=options)
    save({"model": state, "optimizer": optimizer_state}, folder, "flattened")

    wrapped = FullyShardedDataParallel(Toy(), device_id=torch.device("cpu"), use_orig_params=True)
    optimizer = train(wrapped)
    FullyShardedDataParallel.set_state_dict_type(
        wrapped, StateDictType.SHARDED_STATE_DICT, ShardedStateDictConfig(offload_to_cpu=False)
    )
    state = wrapped.state_dict()
    optimizer_state = FullyShardedDataParallel.optim_state_dict(wrapped, optimizer)
    save({"model": state, "optimizer": optimizer_state}, folder, "fsdp1")

    writer = dcp.FileSystemWriter(folder / "uncoordinated")
    dcp.save(placed(mesh), storage_writer=writer, use_collectives=False)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
