"""A run that saves each of BAGEL's four directories, or goes on from them. There is no public tool to do it with.

torchrun bagel_resume.py OUT         OUT/KIND/0000002 for each kind, and OUT/whole.json
torchrun bagel_resume.py OUT JOBS    OUT/resumed.json: what became of each of JOBS, `{"name", "kind", "folder"}`

Files, keys and order are those of BAGEL's `train/fsdp_utils.py` and of its forks' sharded checkpoint manager, and so is
what a missing file leads to, with one difference: the fork's own loading of `model_sharded` fills an empty dict, and
loads nothing; here DCP is given the model's state to fill. What a run comes to is the digest of each rank's parts of
weights, averages and moments, two steps after the save.
"""

import copy
import hashlib
import json
import warnings

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from rank_jobs import gathered, main
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard

warnings.simplefilter("ignore")
KINDS = ("dcp", "ranks", "fsdp2", "upstream")


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


class Run:
    """A model, its average, its optimizer and schedule, and where this rank is in its data."""

    def __init__(self, kind, seed, weights=None):
        """`weights` are what BAGEL loads before it wraps the model: of the model, and of the average."""
        self.kind, self.rank, self.world = kind, dist.get_rank(), dist.get_world_size()
        self.mesh = init_device_mesh("cpu", (self.world,))
        torch.manual_seed(seed)
        model = Tiny()
        average = copy.deepcopy(model)
        if weights is not None:
            model.load_state_dict(weights[0], strict=False)
            average.load_state_dict(weights[1], strict=False)
        self.model, self.average = self.wrapped(model), self.wrapped(average)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.05, foreach=False)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)
        self.position, self.step = 0, 0

    def wrapped(self, model):
        if self.kind in ("dcp", "fsdp2"):
            fully_shard(model.q_proj, mesh=self.mesh)
            return fully_shard(model, mesh=self.mesh)
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), device_mesh=self.mesh)

    def train(self, steps):
        for _ in range(steps):
            generator = torch.Generator().manual_seed(100 * self.rank + self.position)
            self.model(torch.randint(0, 7, (4, 3), generator=generator)).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            with torch.no_grad():
                for mean, weight in zip(self.average.parameters(), self.model.parameters(), strict=True):
                    mean.lerp_(weight, 0.1)
            self.position, self.step = self.position + 1, self.step + 1

    def rank_file(self, folder, part):
        of = f"_of{self.world:05d}" if self.kind == "fsdp2" else ""
        name = f"{part}_rank{self.rank:05d}{of}.pt"
        return folder / (f"optimizer.{self.rank:05d}-of-{self.world:05d}.pt" if self.kind == "upstream" else name)

    def digest(self):
        found = hashlib.sha256(str((self.scheduler.state_dict()["last_epoch"], self.position)).encode())
        tensors = [*self.model.parameters(), *self.average.parameters()]
        tensors += [value for state in self.optimizer.state.values() for value in state.values()]
        for tensor in tensors:
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            found.update(local.detach().contiguous().numpy().tobytes())
        return gathered(found.hexdigest())


def sharded(module):
    return FullyShardedDataParallel.state_dict_type(module, StateDictType.SHARDED_STATE_DICT)


def whole(run, module):
    """All weights of a model, on every rank, as each way of sharding gathers them."""
    if run.kind == "fsdp2":
        return {name: tensor.full_tensor() for name, tensor in module.state_dict().items()}
    with FullyShardedDataParallel.state_dict_type(module, StateDictType.FULL_STATE_DICT):
        return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def save(run, folder):
    folder.mkdir(parents=True, exist_ok=True)
    dist.barrier()
    if run.kind in ("dcp", "ranks") and run.rank == 0:
        content = {"train_steps": run.step, "world_size": run.world, "checkpoint_type": "sharded"}
        content |= {"has_ema": True, "has_scheduler": True, "has_data_status": True}
        (folder / "metadata.json").write_text(json.dumps(content))
    for part, module in (("model", run.model), ("ema", run.average)):
        if run.kind == "dcp":
            dcp.save(get_model_state_dict(module), checkpoint_id=folder / f"{part}_sharded")
        elif run.kind == "ranks":
            with sharded(module):
                torch.save(module.state_dict(), run.rank_file(folder, part))
        elif (state := whole(run, module)) and run.rank == 0:
            save_file(state, folder / f"{part}.safetensors")
    state = get_optimizer_state_dict(run.model, run.optimizer) if run.kind == "dcp" else run.optimizer.state_dict()
    torch.save(state, run.rank_file(folder, "optimizer"))
    positions = gathered({"t2i": {0: [run.position, 0, 0]}})
    if run.rank == 0:
        torch.save(run.scheduler.state_dict(), folder / "scheduler.pt")
        torch.save(positions, folder / "data_status.pt")


def load(kind, folder):
    """A run that goes on from a directory."""
    run = Run(kind, 99, plain_weights(folder) if kind in ("fsdp2", "upstream") else None)
    if kind in ("dcp", "ranks"):
        load_shards(run, folder)
    path = run.rank_file(folder, "optimizer")
    if kind == "upstream" or path.exists():  # the fork skips an optimizer that is not there
        state = torch.load(path, weights_only=False)
        if kind == "dcp":
            set_optimizer_state_dict(run.model, run.optimizer, state)
        else:
            run.optimizer.load_state_dict(state)
    run.scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=False))
    run.step = int(folder.name)
    if (folder / "data_status.pt").exists():
        positions = torch.load(folder / "data_status.pt", weights_only=False)
        run.position = positions[run.rank]["t2i"][0][0] if run.rank < len(positions) else 0
    return run


def plain_weights(folder):
    """The model's, and the average's, in whose place BAGEL takes the model's where it is not there."""
    model = load_file(folder / "model.safetensors")
    average = folder / "ema.safetensors"
    return model, load_file(average) if average.exists() else model


def load_shards(run, folder):
    for part, module in (("model", run.model), ("ema", run.average)):
        if run.kind == "dcp":
            state = get_model_state_dict(module)
            dcp.load(state, checkpoint_id=folder / f"{part}_sharded")
            set_model_state_dict(module, state)
        else:
            content = torch.load(run.rank_file(folder, part), weights_only=False)
            with sharded(module):
                module.load_state_dict(content)


def train(out):
    digests = {}
    for kind in KINDS:
        run = Run(kind, 0)
        run.train(2)
        save(run, out / kind / "0000002")
        run.train(2)
        digests[kind] = run.digest()
    return digests


def go_on(run):
    run.train(2)
    return {"digests": run.digest(), "step": run.step, "position": run.position}


if __name__ == "__main__":
    main(train, load, go_on)
