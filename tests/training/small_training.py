"""A real training, small: dropout, shuffled and augmented data, accumulation, a schedule, an average; and its stops."""

import random
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ckpt_core.training import Checkpointer, KeyedLoader

torch.set_num_threads(1)

SAMPLES, BATCH, GROUP = 22, 4, 2
STEPS_AN_EPOCH = 3
"""Of 22 samples in batches of 4 and groups of 2: two full groups, and a last one with two batches, one not full."""

AUGMENT = {
    "none": lambda: 0.0,
    "torch": lambda: torch.randn(()).item(),
    "numpy": lambda: float(np.random.randn()),
    "python": lambda: random.gauss(0, 1),
}


class Data(torch.utils.data.Dataset):
    def __init__(self, augment="none"):
        self.augment = augment
        self.values = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return self.values[index] + 0.1 * AUGMENT[self.augment]()


@dataclass
class Training:
    """The objects of a training, and the loss of every batch that it has seen."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: object
    ema: nn.Module
    loader: KeyedLoader
    losses: list = field(default_factory=list)
    step: int = 0

    def objects(self):
        return {name: getattr(self, name) for name in ("model", "optimizer", "scheduler", "ema", "loader")}

    def run(self, steps, saver=None):
        """Train until so many steps are done, and save as a loop does."""
        while self.step < steps:
            for batch in self.loader:
                loss = self.model(batch).square().mean() / GROUP
                loss.backward()
                self.losses.append(loss.item())
                if self.loader.steps:
                    self.optimizer.step()
                    self.scheduler.step()
                    self.ema.update_parameters(self.model)
                    self.optimizer.zero_grad()
                    self.step += 1
                    if saver is not None:
                        saver.after_step(self.step, metrics={"loss": loss.item()})
                if self.step == steps:
                    break
        return self

    def state(self):
        """Everything that must be equal, to the bit."""
        generators = {
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),
            "cpu": torch.get_rng_state(),
        }
        objects = {name: value.state_dict() for name, value in self.objects().items()}
        return {**objects, "generators": generators, "step": self.step}


def seeded(seed=0):
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)


def training(augment="none", seed=0, lr=1e-2, width=6, batch_size=BATCH, data_seed=7, **loading):
    seeded(seed)
    model = nn.Sequential(nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    loader = KeyedLoader(Data(augment), batch_size, seed=data_seed, accumulate=GROUP, **loading)
    return Training(model, optimizer, scheduler, ema, loader)


def checkpointer(run, made, **how):
    return Checkpointer(run, **{**made.objects(), **how})


def same(first, second):
    """Whether two trees are equal to the bit."""
    if isinstance(first, torch.Tensor | np.ndarray):
        return first.dtype == second.dtype and np.array_equal(np.asarray(first), np.asarray(second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def differing(first, second):
    """Which parts of two states differ."""
    return [name for name in first if not same(first[name], second[name])]
