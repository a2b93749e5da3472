"""Run by torchrun on 2 ranks: BAGEL's four training directories, with weights and an EMA that differ.

Files, names and keys are those of BAGEL's `fsdp_save_ckpt` and of its forks' sharded checkpoint manager. What torch
gathers of the same tensors is saved beside them, as `NAME.full.pt`.
"""

import copy
import json
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard
from torch.distributed.tensor import DTensor

warnings.simplefilter("ignore")
RANK, WORLD, STEP = 0, 0, 400


class Tiny(torch.nn.Module):
    """Twins of a layer, as BAGEL's mixture of transformers has, and rows that two ranks do not divide."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(7, 4)
        self.q_proj = torch.nn.Linear(4, 5)
        self.q_proj_moe_gen = torch.nn.Linear(4, 5)

    def forward(self, tokens):
        hidden = self.embed(tokens)
        return self.q_proj(hidden) + self.q_proj_moe_gen(hidden)


def whole(value):
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def trained(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, foreach=False)
    torch.manual_seed(1)
    for _ in range(2):
        model(torch.randint(0, 7, (4, 3))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def fully_sharded(model, mesh):
    model = copy.deepcopy(model)
    fully_shard(model.q_proj, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def wrapped(model, mesh):
    model = copy.deepcopy(model)
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), device_mesh=mesh)


def save_beside(folder):
    """What rank 0 writes last in each of the four."""
    if RANK == 0:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        torch.save(scheduler.state_dict(), folder / "scheduler.pt")
        torch.save([{"t2i": {0: [rank, 3, 17]}} for rank in range(WORLD)], folder / "data_status.pt")


def save_metadata(folder):
    content = {"train_steps": STEP, "world_size": WORLD, "checkpoint_type": "sharded"}
    content |= {"has_ema": True, "has_scheduler": True, "has_data_status": True}
    if RANK == 0:
        (folder / "metadata.json").write_text(json.dumps(content))


def save_full(out, name, model, ema, optimizer=None):
    content = {"model": whole(model), "ema": whole(ema)}
    if optimizer is not None:
        content["optimizer"] = whole(optimizer)
    if RANK == 0:
        torch.save(content, out / f"{name}.full.pt")
    return content


def prepared(out, name):
    folder = out / name / f"{STEP:07d}"
    folder.mkdir(parents=True, exist_ok=True)
    dist.barrier()
    return folder


def sharded_with_dcp(out, model, ema, mesh):
    folder = prepared(out, "dcp")
    model, ema = fully_sharded(model, mesh), fully_sharded(ema, mesh)
    optimizer = trained(model)
    save_metadata(folder)
    dcp.save(model.state_dict(), checkpoint_id=folder / "model_sharded")
    dcp.save(ema.state_dict(), checkpoint_id=folder / "ema_sharded")
    state = get_optimizer_state_dict(model, optimizer)
    torch.save(state, folder / f"optimizer_rank{RANK:05d}.pt")
    save_beside(folder)
    full = save_full(out, "dcp", model.state_dict(), ema.state_dict(), state)
    if RANK == 0:
        save_file(full["model"], folder / "model_full.safetensors")


def sharded_without_dcp(out, model, ema, mesh):
    folder = prepared(out, "ranks")
    model, ema = wrapped(model, mesh), wrapped(ema, mesh)
    optimizer = trained(model)
    save_metadata(folder)
    states = []
    for kind, module in (("model", model), ("ema", ema)):
        with FullyShardedDataParallel.state_dict_type(module, StateDictType.SHARDED_STATE_DICT):
            states.append(module.state_dict())
        torch.save(states[-1], folder / f"{kind}_rank{RANK:05d}.pt")
    torch.save(optimizer.state_dict(), folder / f"optimizer_rank{RANK:05d}.pt")
    save_beside(folder)
    save_full(out, "ranks", *states)


def fsdp2_branch(out, model, ema, mesh):
    folder = prepared(out, "fsdp2")
    model, ema = fully_sharded(model, mesh), fully_sharded(ema, mesh)
    optimizer = trained(model)
    full = save_full(out, "fsdp2", model.state_dict(), ema.state_dict(), optimizer.state_dict())
    if RANK == 0:
        save_file(full["model"], folder / "model.safetensors")
        save_file(full["ema"], folder / "ema.safetensors")
    torch.save(optimizer.state_dict(), folder / f"optimizer_rank{RANK:05d}_of{WORLD:05d}.pt")
    save_beside(folder)


def upstream(out, model, ema, mesh):
    folder = prepared(out, "upstream")
    model, ema = wrapped(model, mesh), wrapped(ema, mesh)
    optimizer = trained(model)
    states = []
    for module in (model, ema):
        with FullyShardedDataParallel.state_dict_type(module, StateDictType.FULL_STATE_DICT):
            states.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
    full = save_full(out, "upstream", *states)
    if RANK == 0:
        save_file(full["model"], folder / "model.safetensors")
        save_file(full["ema"], folder / "ema.safetensors")
    torch.save(optimizer.state_dict(), folder / f"optimizer.{RANK:05d}-of-{WORLD:05d}.pt")
    save_beside(folder)


def main():
    global RANK, WORLD
    out = Path(sys.argv[1])
    dist.init_process_group("gloo")
    RANK, WORLD = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model = Tiny()
    torch.manual_seed(7)
    ema = Tiny()
    mesh = init_device_mesh("cpu", (WORLD,))
    for save in (sharded_with_dcp, sharded_without_dcp, fsdp2_branch, upstream):
        save(out, model, ema, mesh)
    dist.destroy_process_group()


main()
