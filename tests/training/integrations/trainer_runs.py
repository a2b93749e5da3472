"""Trainings of transformers' Trainer that are killed and go on.

python trainer_runs.py FOLDER < JOBS     as `forked` says
"""

import os
import random
import sys
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

from ckpt_core.training import run_trainer
from ckpt_core.training.data import keyed_data
from ckpt_core.training.integrations.hf import saving
from tests.training.integrations.forked import DRAWS, SAMPLES, Killed, digest, main


class Data(torch.utils.data.Dataset):
    def __init__(self, draw="none"):
        self.draw = draw
        self.values = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return {"x": self.values[index] + 0.1 * DRAWS[self.draw](), "labels": self.values[index].mean()}


class Stream(torch.utils.data.IterableDataset):
    """Each worker its own share of the samples, in order; with no state."""

    def __init__(self, draw="none"):
        self.data, self.at = Data(draw), 0

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        mine = range(SAMPLES) if worker is None else range(worker.id, SAMPLES, worker.num_workers)
        while self.at < len(mine):
            self.at += 1
            yield self.data[mine[self.at - 1]]
        self.at = 0


class Placed(Stream):
    """The same with a state."""

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


STREAMS = {"plain": Stream, "placed": Placed}


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 3))
        self.maturity = torch.zeros(2)  # in no state_dict

    def forward(self, x, labels):
        self.maturity = self.maturity + x[0, :2]
        return {"loss": (self.layers(x) - labels[:, None]).square().mean()}


TRAINER = []
"""The one of this process."""


def made(folder, draw="none", seed=3, width=8, stream=None, patience=None, workers=0, batch_size=4, **more):
    torch.manual_seed(0)
    options = {
        "max_steps": 9,
        "save_steps": 1,
        "save_total_limit": 2,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "gradient_accumulation_steps": 2,
        "dataloader_num_workers": workers,
        "dataloader_persistent_workers": bool(workers) and more.pop("persistent", False),
        **more,
    }
    arguments = TrainingArguments(
        folder,
        per_device_train_batch_size=batch_size,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=seed,
        **options,
    )
    data = STREAMS[stream](draw) if stream else Data(draw)
    callbacks = [EarlyStoppingCallback(patience)] if patience else []
    return Trainer(Net(width), arguments, train_dataset=data, eval_dataset=Data(), callbacks=callbacks)


def listen(killed, trainer):
    """Note the trainer's events, and the steps of its saves."""
    original = trainer.callback_handler.call_event

    def call_event(event, args, state, control, **given):
        killed.note(event)
        result = original(event, args, state, control, **given)
        killed.note(f"after {event}")
        return result

    trainer.callback_handler.call_event = call_event
    for name in ("_save_optimizer_and_scheduler", "_save_rng_state", "_load_rng_state"):
        killed.before(trainer, name)
    for name in ("seal", "_remove_older"):
        killed.before(saving, name)
    killed.before(saving.syscalls, "rename")


def train(folder, kill=None, lr=None, policy="newest", past=0, forget=None, replay=False, extra=None, **more):
    """The result of a training: what it logged, and digests of what it is at the end."""
    killed, trainer = Killed(kill, lambda: TRAINER[0].state.global_step), made(folder, **more)
    TRAINER[:] = [trainer]
    if forget == "rng":
        trainer._load_rng_state = lambda checkpoint: None
    listen(killed, trainer)
    if forget == "keys":
        keyed_data.keyed = lambda key: nullcontext()
    os.makedirs(folder, exist_ok=True)
    past *= any(name.startswith("checkpoint") for name in os.listdir(folder))
    torch.manual_seed(100 + past), np.random.seed(past), random.seed(past)
    run_trainer(trainer, lr=lr, policy=policy, replay=replay, extra=extra)
    state = {
        "weights": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": trainer.lr_scheduler.state_dict(),
        "generators": [torch.get_rng_state(), np.random.get_state(), random.getstate()],
    }
    logged = [
        {key: value for key, value in one.items() if "runtime" not in key and "second" not in key}
        for one in trainer.state.log_history
    ]
    patience = [vars(one) for one in trainer.callback_handler.callbacks if isinstance(one, EarlyStoppingCallback)]
    result = {"step": trainer.state.global_step, "logged": logged, "patience": patience}
    result |= {"limit": trainer.args.save_total_limit, "folders": sorted(os.listdir(folder))}
    result["maturity"] = trainer.model.maturity.tolist()
    return {**result, **{name: digest(value) for name, value in state.items()}}, killed.seen


if __name__ == "__main__":
    made(sys.argv[1])  # imports the rest of transformers once, not in every fork
    main(train, sys.argv[1])
