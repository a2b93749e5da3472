"""Accelerate on tiny networks: trains and saves with save_state, or resumes with load_state and prints the losses.

python accelerate_runs.py train OUT           OUT/{plain,two,bin}/checkpoints/checkpoint_0 and _1
python accelerate_runs.py resume CHECKPOINT   goes on where it was saved; prints the losses of the steps that follow
"""

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration, set_seed

SAVES, STEPS = (3, 5), 8


class Counter:
    """What a program registers: how far it is."""

    def __init__(self):
        self.step = 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def prepared(folder, kind):
    set_seed(3)
    project = ProjectConfiguration(str(folder), automatic_checkpoint_naming=True)
    loading = DataLoaderConfiguration(use_stateful_dataloader=kind == "two", use_seedable_sampler=True)
    accelerator = Accelerator(cpu=True, project_config=project, dataloader_config=loading)
    networks = [network() for _ in range(2 if kind == "two" else 1)]
    optimizers = [torch.optim.AdamW(each.parameters(), lr=0.01) for each in networks]
    schedulers = [torch.optim.lr_scheduler.StepLR(each, 2) for each in optimizers]
    samples = torch.utils.data.TensorDataset(torch.arange(64.0).reshape(16, 4) / 64)
    loader = torch.utils.data.DataLoader(samples, batch_size=2, shuffle=True)
    everything = accelerator.prepare(loader, *networks, *optimizers, *schedulers)
    counter = Counter()
    if kind == "two":
        accelerator.register_for_checkpointing(counter)
    return accelerator, everything, counter


def run(accelerator, everything, counter, kind, *, steps, skip=0, save=True):
    loader, rest = everything[0], everything[1:]
    count = len(rest) // 3
    networks, optimizers, schedulers = rest[:count], rest[count : 2 * count], rest[2 * count :]
    losses = []
    for (batch,) in accelerator.skip_first_batches(loader, skip) if skip else loader:
        loss = sum(each(batch).square().mean() for each in networks)
        accelerator.backward(loss)
        for stepped in (*optimizers, *schedulers):
            stepped.step()
        for each in optimizers:
            each.zero_grad()
        counter.step += 1
        losses.append(loss.item())
        if save and counter.step in SAVES:
            accelerator.save_state(safe_serialization=kind != "bin")
        if counter.step == steps:
            return losses
    return losses


def main(job, folder):
    if job == "train":
        for kind in ("plain", "two", "bin"):
            losses = run(*prepared(Path(folder) / kind, kind), kind, steps=STEPS)
            (Path(folder) / kind / "losses.json").write_text(json.dumps(losses))
        return
    kind = Path(folder).parents[1].name
    accelerator, everything, counter = prepared(Path(folder).parents[1], kind)
    accelerator.load_state(folder)
    saved = int(folder.rpartition("_")[2])
    counter.step = SAVES[saved]
    skip = 0 if kind == "two" else counter.step
    losses = run(accelerator, everything, counter, kind, steps=STEPS, skip=skip, save=False)
    print("LOSSES", json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
