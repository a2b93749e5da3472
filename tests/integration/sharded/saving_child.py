"""Run under torchrun: saves of what is spread over ranks, each check in a line of its own in `FOLDER/rank-N.json`."""

import json
import os
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from ckpt_core import CkptError, save, torchrun_ranks

FOLDER = sys.argv[1]


def place(name):
    return os.path.join(FOLDER, name)


def model(seed=0):
    torch.manual_seed(seed)
    made = torch.nn.Sequential(torch.nn.Linear(33, 17), torch.nn.ReLU(), torch.nn.Linear(17, 5))
    whole = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    for layer in (made[0], made[2]):
        fully_shard(layer)
    return fully_shard(made), whole


def trained():
    made, whole = model()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3)
    made(torch.ones(4, 33)).sum().backward()
    optimizer.step()
    return made, optimizer, whole


def fsdp2():
    made, optimizer, _ = trained()
    report = save(
        {"model": made.state_dict(), "optimizer": optimizer.state_dict(), "step": 3}, place("fsdp2"), format="dcp"
    )
    again = {"model": {name: torch.zeros_like(tensor) for name, tensor in made.state_dict().items()}}
    dcp.load(again, checkpoint_id=place("fsdp2"))
    same = [
        torch.equal(tensor.to_local(), again["model"][name].to_local()) for name, tensor in made.state_dict().items()
    ]
    full = {name: tensor.full_tensor() for name, tensor in made.state_dict().items()}
    if dist.get_rank() == 0:
        torch.save(full, place("fsdp2.pt"))
    return [all(same), report.tensors, sorted(report.files)]


def replicas():
    """A hybrid mesh, and tensors that every rank has: each element is written once."""
    mesh = init_device_mesh("cpu", (2, dist.get_world_size() // 2))
    hybrid = distribute_tensor(torch.arange(4096.0).reshape(64, 64), mesh, [Replicate(), Shard(1)])
    state = {"hybrid": hybrid, "own": torch.arange(10.0), "large": torch.zeros(1 << 20)}
    report = save({"model": state}, place("replicas"), format="dcp")
    return sum(size for path, size in report.files.items() if path.endswith(".distcp"))


def refused(work):
    try:
        work()
    except CkptError as error:
        return f"{type(error).__name__}: {error.message}"
    return ""


def errors():
    made, _ = model()
    state, rank = made.state_dict(), dist.get_rank()
    return {
        "hf": refused(lambda: save(state, place("refused"), format="hf")),
        "other option": refused(lambda: save(state, place("refused"), format="dcp", options={"flat": rank == 1})),
        "other value": refused(lambda: save({"model": state, "step": rank}, place("refused"), format="dcp")),
        "exists": refused(lambda: save(state, place("fsdp2"), format="dcp")),
    }


def whole():
    """Tensors that no rank shares: one of them writes any format."""
    weights = {"w": torch.arange(12.0).reshape(3, 4)}
    with torchrun_ranks() as ranks:
        return save(weights, place("whole.safetensors"), ranks=ranks).tensors


def main():
    dist.init_process_group("gloo")
    found = {check.__name__: check() for check in (fsdp2, replicas, errors, whole)}
    with open(place(f"rank-{dist.get_rank()}.json"), "w") as file:
        json.dump(found, file)
    dist.destroy_process_group()


main()
