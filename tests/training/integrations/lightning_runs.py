"""Trainings of Lightning's Trainer that are killed and go on.

python lightning_runs.py FOLDER < JOBS     as `forked` says
"""

import logging
import os
import random
import signal
import sys
import warnings
from contextlib import nullcontext

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ckpt_core.training import random_states
from ckpt_core.training.data import keyed_data, keyed_iterable
from ckpt_core.training.integrations.lightning import BundleIO, ExactResume, bundle_io, newest
from tests.training.integrations.forked import DRAWS, SAMPLES, Killed, digest, main

HOOKS = [name for name in dir(lightning.pytorch.callbacks.Callback) if name.startswith("on_")]


class Data(Dataset):
    def __init__(self, draw="none"):
        self.draw = draw
        self.values = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return self.values[index] + 0.1 * DRAWS[self.draw]()


class Stream(IterableDataset):
    """The samples in turn, shared out among workers, with a state of its own."""

    def __init__(self, draw="none"):
        self.data, self.at, self.next = Data(draw), None, 0

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        begin, self.at = self.at or first, None
        for number in range(begin, SAMPLES, step):
            self.next = number + step
            yield self.data[number]

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.at = self.next = state["next"]


class Stateless(IterableDataset):
    def __iter__(self):
        return iter(Data()[number] for number in range(SAMPLES))


SETS = {"map": Data, "stream": Stream, "stateless": lambda draw: Stateless()}


class Net(lightning.LightningModule):
    def __init__(self, width=8, rate=1e-2, schedule="step"):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 3))
        self.losses = []

    def training_step(self, batch):
        loss = self.layers(batch).square().mean()
        self.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch):
        self.log("val_loss", (self.layers(batch) + torch.randn(()) * 0.1).square().mean(), batch_size=len(batch))

    def on_train_batch_end(self, *given):
        torch.rand(1)  # behind what a ModelCheckpoint does

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.rate)
        kinds = torch.optim.lr_scheduler
        if self.hparams.schedule == "plateau":
            plateau = kinds.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            return [optimizer], [{"scheduler": plateau, "monitor": "val_loss", "interval": "epoch"}]
        if self.hparams.schedule == "milestones":
            return [optimizer], [kinds.MultiStepLR(optimizer, [1, 2], 0.5)]
        return [optimizer], [{"scheduler": kinds.CosineAnnealingLR(optimizer, 20), "interval": "step"}]


class Listening(Killed, lightning.pytorch.callbacks.Callback):
    """Notes every hook of a Trainer, and every change that a save makes."""

    def listen(self):
        for name in ("save", "proved"):
            self.before(bundle_io, name)
        for name in ("rename", "remove_tree"):
            self.before(bundle_io.syscalls, name)


def _noting(name):
    def hook(self, *given, **named):
        self.note(name)

    return hook


for _name in HOOKS:
    if _name not in ("on_save_checkpoint", "on_load_checkpoint"):
        setattr(Listening, _name, _noting(_name))


class Signal(lightning.pytorch.callbacks.Callback):
    """Sends a signal to this process in the middle of a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_before_optimizer_step(self, trainer, *given):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


class Logged(lightning.pytorch.loggers.logger.DummyLogger):
    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append([step, {name: float(value) for name, value in metrics.items()}])


def made(folder, kill, kind="map", draw="none", workers=0, persistent=False, batch_size=4, seed=3, **more):
    torch.manual_seed(0)
    net = Net(**{name: more.pop(name) for name in ("width", "rate", "schedule") if name in more})
    shuffle = {"shuffle": True} if kind == "map" else {}
    options = {"num_workers": workers, "persistent_workers": persistent, **shuffle}
    loader = DataLoader(SETS[kind](draw), batch_size, **options)
    saving = {"every_n_train_steps": 1, "save_top_k": 2, "monitor": "step", "mode": "max"} | more.pop("saving", {})
    callbacks = [ModelCheckpoint(folder, **saving)]
    callbacks += [ExactResume(seed, lr=more.pop("lr", None), preemption=True)] if more.pop("exact", True) else []
    callbacks += [EarlyStopping("val_loss", patience=more.pop("patience"), min_delta=1)] if "patience" in more else []
    callbacks += [Signal(*more.pop("signal"))] if "signal" in more else []
    options = {"max_epochs": 2, "accumulate_grad_batches": 2, "log_every_n_steps": 1} | more
    trainer = lightning.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        plugins=[BundleIO()],
        logger=Logged(),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    listening = Listening(kill, lambda: trainer.global_step)
    trainer.callbacks.insert(0, listening)
    return trainer, net, loader, listening


def train(folder, kill=None, past=0, forget=None, policy="newest", **more):
    """The result of a training: what it logged, and digests of what it is at the end."""
    warnings.filterwarnings("ignore", ".*does not have many workers|.*exists and is not empty|.*num_workers")
    trainer, net, loader, listening = made(folder, kill, **more)
    listening.listen()
    if forget == "rng":
        random_states.restoring = lambda state: lambda: None
    if forget == "keys":
        keyed_data.keyed = keyed_iterable.keyed = lambda key: nullcontext()
    place = newest(folder) if policy == "newest" else policy
    past *= place is not None  # a training that begins anew is that of its seeds
    torch.manual_seed(100 + past), np.random.seed(past), random.seed(past)
    trainer.fit(net, loader, DataLoader(Data("torch"), 8), ckpt_path=place)
    state = {
        "weights": net.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict(),
        "scheduler": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        "generators": [torch.get_rng_state(), np.random.get_state(), random.getstate()],
    }
    result = {"step": trainer.global_step, "epoch": trainer.current_epoch, "losses": net.losses}
    result |= {"logged": trainer.logger.rows, "folders": sorted(os.listdir(folder))}
    return {**result, **{name: digest(value) for name, value in state.items()}}, listening.seen


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    main(train, sys.argv[1])
