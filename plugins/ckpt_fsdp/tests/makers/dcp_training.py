"""A training loop on stock torch.distributed.checkpoint and FSDP2: saves as it goes, or resumes and goes on.

dcp_training.py OUT train                     OUT/run/step-2, step-4: all of it; OUT/without-KEY: without one key;
                                              OUT/weights: by HuggingFaceStorageWriter; OUT/final.json
dcp_training.py OUT resume CHECKPOINT…        OUT/outcomes.json: by name what the run came to, or how it failed
"""

import json
import random
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from resumed_runs import Notes, digest_of
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

STEPS, SAVES = 6, (2, 4)
KEYS = ("model", "optimizer", "scheduler", "sampler", "rng", "step")


class Training:
    """Rows that do not divide by two, dropout, a schedule, and data in a random order: each needs its state."""

    def __init__(self, mesh):
        torch.manual_seed(dist.get_rank())
        random.seed(dist.get_rank())
        self.model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 3))
        fully_shard(self.model, mesh=mesh)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2, foreach=False)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, 0.5)
        self.order = torch.randperm(STEPS, generator=torch.Generator().manual_seed(5)).tolist()
        self.step, self.losses = 0, []

    def state(self):
        model, optimizer = get_state_dict(self.model, self.optimizer)
        rank = str(dist.get_rank())
        return {
            "model": model,
            "optimizer": optimizer,
            "scheduler": self.scheduler.state_dict(),
            "sampler": {"order": self.order},
            "rng": {rank: {"torch": torch.get_rng_state(), "python": random.getstate()}},
            "step": self.step,
        }

    def load(self, folder, **options):
        state = self.state()
        dcp.load(state, checkpoint_id=folder, **options)
        set_state_dict(self.model, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.order, self.step = state["sampler"]["order"], state["step"]
        own = state["rng"][str(dist.get_rank())]
        torch.set_rng_state(own["torch"])
        random.setstate(own["python"])

    def advance(self, until):
        while self.step < until:
            batch = torch.full((2, 6), float(self.order[self.step] + dist.get_rank()) / 8 + random.random() / 16)
            loss = self.model(batch).square().mean()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            self.step += 1
            self.losses.append(loss.item())

    def outcome(self):
        return {"digest": digest_of(self.model.state_dict()), "losses": self.losses[-2:], "step": self.step}


def train(mesh, out):
    training = Training(mesh)
    for step in SAVES:
        training.advance(step)
        dcp.save(training.state(), checkpoint_id=out / "run" / f"step-{step}")
    for key in KEYS:
        kept = {name: value for name, value in training.state().items() if name != key}
        dcp.save(kept, checkpoint_id=out / f"without-{key}")
    training.advance(STEPS)
    writer = dcp.HuggingFaceStorageWriter(str(out / "weights"), save_distributed=True)
    dcp.save(training.model.state_dict(), storage_writer=writer)
    outcome = training.outcome()
    if dist.get_rank() == 0:
        (out / "final.json").write_text(json.dumps(outcome))


def resumed(mesh, folder, **options):
    training = Training(mesh)
    if any(folder.glob("*.safetensors")):
        state = training.model.state_dict()
        dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(str(folder)))
        training.model.load_state_dict(state)
    else:
        training.load(folder, **options)
        training.advance(STEPS)
    return training.outcome()


def main(out, job, *checkpoints):
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if job == "train":
        train(mesh, Path(out))
    notes = Notes(Path(out) / "outcomes.json")
    for folder in map(Path, checkpoints):
        notes.attempt(folder.name, lambda folder=folder: resumed(mesh, folder))
        if folder.name == "without-optimizer":
            planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
            partly = lambda folder=folder, planner=planner: resumed(mesh, folder, planner=planner)  # noqa: E731
            notes.attempt(f"{folder.name}, in part", partly)
    notes.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
