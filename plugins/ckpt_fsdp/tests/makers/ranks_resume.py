"""A run under FSDP that saves rank files as verl does, or goes on from them as verl does.

torchrun ranks_resume.py OUT         OUT/fsdp1 and OUT/fsdp2, each with `global_step_2/actor`, and OUT/whole.json
torchrun ranks_resume.py OUT JOBS    OUT/resumed.json: what became of each of JOBS, `{"name", "kind", "folder"}`

What a run comes to is the digest of each rank's own parts of weights and moments, two steps after the save. The model
drops at random, so that the states of the generators count.
Source: verl `utils/checkpoint/fsdp_checkpoint_manager.py` (save_checkpoint, load_checkpoint).
"""

import contextlib
import hashlib
import random
import warnings

import numpy as np
import torch
import torch.distributed as dist
from rank_jobs import gathered, main
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    ShardedOptimStateDictConfig,
    ShardedStateDictConfig,
    StateDictType,
    fully_shard,
)

warnings.simplefilter("ignore")


class Run:
    """A model, its optimizer and its schedule, on this rank."""

    def __init__(self, kind, seed):
        self.rank, self.world, self.kind = dist.get_rank(), dist.get_world_size(), kind
        mesh = init_device_mesh("cpu", (self.world,), mesh_dim_names=("fsdp",))
        torch.manual_seed(seed)
        layers = (torch.nn.Linear(6, 5), torch.nn.Dropout(0.3), torch.nn.Linear(5, 3))
        self.model = torch.nn.Sequential(torch.nn.Embedding(7, 6), *layers)
        if kind == "fsdp2":
            fully_shard(self.model, mesh=mesh)
        else:
            self.model = FullyShardedDataParallel(self.model, device_id=torch.device("cpu"), device_mesh=mesh)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.05, foreach=False)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)
        for seed_one in (torch.manual_seed, np.random.seed, random.seed):
            seed_one(seed + self.rank)

    def train(self, steps):
        for _ in steps:
            self.model(torch.randint(0, 7, (4, 3))).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()

    def states(self):
        """verl's context: sharded states of FSDP1; FSDP2 has no other."""
        if self.kind == "fsdp2":
            return contextlib.nullcontext()
        configs = (ShardedStateDictConfig(offload_to_cpu=True), ShardedOptimStateDictConfig(offload_to_cpu=True))
        return FullyShardedDataParallel.state_dict_type(self.model, StateDictType.SHARDED_STATE_DICT, *configs)

    def file(self, folder, part):
        return folder / f"{part}_world_size_{self.world}_rank_{self.rank}.pt"

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with self.states():
            torch.save(self.model.state_dict(), self.file(folder, "model"))
            torch.save(self.optimizer.state_dict(), self.file(folder, "optim"))
        rng = {"cpu": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}
        extra = {"lr_scheduler": self.scheduler.state_dict(), "rng": rng}
        torch.save(extra, self.file(folder, "extra_state"))

    def load(self, folder):
        with self.states():
            self.model.load_state_dict(torch.load(self.file(folder, "model"), weights_only=False))
            self.optimizer.load_state_dict(torch.load(self.file(folder, "optim"), weights_only=False))
        extra = torch.load(self.file(folder, "extra_state"), weights_only=False)
        if "rng" in extra:
            torch.set_rng_state(extra["rng"]["cpu"])
            np.random.set_state(extra["rng"]["numpy"])
            random.setstate(extra["rng"]["random"])
        self.scheduler.load_state_dict(extra["lr_scheduler"])

    def digest(self):
        """Of every rank, gathered."""
        found = hashlib.sha256(str(self.scheduler.state_dict()["last_epoch"]).encode())
        tensors = [p for group in self.optimizer.param_groups for p in group["params"]]
        tensors += [value for state in self.optimizer.state.values() for value in state.values()]
        for tensor in tensors:
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            found.update(local.detach().contiguous().numpy().tobytes())
        return gathered(found.hexdigest())


def train(out):
    digests = {}
    for kind in ("fsdp1", "fsdp2"):
        run = Run(kind, 0)
        run.train(range(2))
        run.save(out / kind / "global_step_2" / "actor")
        run.train(range(2))
        digests[kind] = run.digest()
    return digests


def load(kind, folder):
    run = Run(kind, 99)
    run.load(folder)
    return run


def go_on(run):
    run.train(range(2))
    return {"digests": run.digest()}


if __name__ == "__main__":
    main(train, load, go_on)
