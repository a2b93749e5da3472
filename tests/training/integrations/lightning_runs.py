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
from functools import partial

import lightning
import numpy as np
import torch
import torchmetrics
from lightning import pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ckpt_core import CkptError
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


def of_datasets(draw, kind):
    """The samples as a set of `datasets`: shuffled, streamed from two shards, or shuffled through a buffer."""
    import datasets

    def drawn(rows):
        return {"x": [torch.tensor(row) + 0.1 * DRAWS[draw]() for row in rows["x"]]}

    rows = datasets.Dataset.from_dict({"x": Data().values.tolist()}).shuffle(seed=5)
    if kind == "hf map":
        return rows.with_transform(drawn)
    stream = rows.to_iterable_dataset(num_shards=2).with_format("torch")
    stream = stream.map(lambda row: {"x": row["x"] + 0.1 * DRAWS[draw]()})
    return stream.shuffle(seed=6, buffer_size=8) if kind == "hf buffer" else stream


SETS = {"map": Data, "stream": Stream, "stateless": lambda draw: Stateless()}
SETS |= {kind: partial(of_datasets, kind=kind) for kind in ("hf map", "hf stream", "hf buffer")}


class Net(lightning.LightningModule):
    def __init__(self, width=8, rate=1e-2, schedule="step", metric=False, odd=None):
        super().__init__()
        self.save_hyperparameters()
        self.spread = torchmetrics.SumMetric() if metric else None
        self.layers = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 3))
        self.losses = []

    def training_step(self, batch):
        batch = batch["x"] if isinstance(batch, dict) else batch
        loss = self.layers(batch).square().mean()
        self.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=len(batch))
        if self.spread is not None:
            self.spread(loss.detach())
            self.log("spread", self.spread, on_step=False, on_epoch=True)
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


class Manual(Net):
    """Steps its optimizer itself, every second batch."""

    def __init__(self, **given):
        super().__init__(**given)
        self.automatic_optimization = False

    def training_step(self, batch, number):
        self.manual_backward(super().training_step(batch) / 2)
        if number % 2:
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()
            self.lr_schedulers().step()


class Fetching(Net):
    def training_step(self, dataloader_iter):
        return super().training_step(next(dataloader_iter)[0])


NETS = {"own": Net, "manual": Manual, "fetching": Fetching}


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
    """Sends a signal to this process in the middle of a step, or after the first batch of its two."""

    def __init__(self, number, step, first=False):
        self.number, self.step, self.first = number, step, first

    def on_before_optimizer_step(self, trainer, *given):
        if trainer.global_step == self.step and not self.first:
            os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, trainer, module, batch, number):
        if trainer.global_step == self.step and self.first and number % 2 == 0:
            os.kill(os.getpid(), self.number)


class Odd(lightning.pytorch.callbacks.Callback):
    """Has a state that is no plain data."""

    def state_dict(self):
        return {"odd": object()}


CALLBACKS = {
    "rate": pl.callbacks.LearningRateFinder,
    "groups": lambda: pl.callbacks.GradientAccumulationScheduler({0: 1, 1: 2}),
    "average": lambda: pl.callbacks.StochasticWeightAveraging(1e-2),
    "odd": Odd,
}

LOADERS = {
    "sampler": lambda: DataLoader(Data(), 4, sampler=torch.utils.data.WeightedRandomSampler([1.0] * SAMPLES, SAMPLES)),
    "several": lambda: {"a": DataLoader(Data(), 4), "b": DataLoader(Data(), 4)},
    "unordered": lambda: DataLoader(Data(), 4, num_workers=2, in_order=False),
}


def scaled():
    """AMP with a scaler, on a CPU, which begins so high that steps are left out."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=2)
    return pl.plugins.precision.MixedPrecision("16-mixed", "cpu", scaler=scaler)


class Logged(lightning.pytorch.loggers.logger.DummyLogger):
    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append([step, {name: float(value) for name, value in metrics.items()}])


def made(folder, kill, kind="map", draw="none", workers=0, persistent=False, batch_size=4, seed=3, **more):
    torch.manual_seed(0)
    about = {name: more.pop(name) for name in ("width", "rate", "schedule", "metric", "odd") if name in more}
    net = NETS[more.pop("net", "own")](**about | ({"odd": object()} if "odd" in about else {}))
    shuffle = {"shuffle": True} if kind in ("map", "hf map") else {}
    options = {"num_workers": workers, "persistent_workers": persistent, **shuffle}
    loader = LOADERS[more.pop("loader")]() if "loader" in more else DataLoader(SETS[kind](draw), batch_size, **options)
    saving = {"every_n_train_steps": 1, "save_top_k": 2, "monitor": "step", "mode": "max"} | more.pop("saving", {})
    callbacks = [ModelCheckpoint(folder, **saving)]
    callbacks += [ExactResume(seed, lr=more.pop("lr", None), preemption=True)] if more.pop("exact", True) else []
    callbacks += [EarlyStopping("val_loss", patience=more.pop("patience"), min_delta=1)] if "patience" in more else []
    callbacks += [Signal(*more.pop("signal"))] if "signal" in more else []
    callbacks += [CALLBACKS[more.pop("callback")]()] if "callback" in more else []
    precision = [scaled()] if more.pop("scaled", False) else []
    options = {"max_epochs": 2, "accumulate_grad_batches": 2, "log_every_n_steps": 1} | more
    trainer = lightning.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        plugins=[BundleIO(), *precision],
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
    before = digest(net.state_dict())
    try:
        trainer.fit(net, loader, DataLoader(Data("torch"), 8), ckpt_path=place)
    except CkptError as error:
        if digest(net.state_dict()) != before:
            raise RuntimeError(f"the weights were changed, and then it was refused: {error}") from error
        raise
    state = {
        "weights": net.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict(),
        "scaler": trainer.precision_plugin.state_dict(),
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
