"""Trainings of transformers' Trainer that are killed and go on, each in a fork: importing transformers takes seconds.

python trainer_runs.py FOLDER < JOBS     JOBS: {name: [part, …]}; a part: arguments of `train`, and where it is killed.
Prints {name: {"result": …, "seen": [[event, step], …], "ends": […]}}, of the last part.
"""

import hashlib
import json
import os
import random
import signal
import sys
import traceback
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

from ckpt_core import CkptError
from ckpt_core.training import run_trainer
from ckpt_core.training.data import keyed_data
from ckpt_core.training.integrations.hf import saving

SAMPLES = 22
"""In batches of 4 and groups of 2: three steps an epoch, the last batch not full."""

DRAWS = {
    "none": lambda: 0.0,
    "torch": lambda: torch.randn(()).item(),
    "numpy": lambda: float(np.random.randn()),
    "python": lambda: random.gauss(0, 1),
}


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


class Killed:
    """Ends the process at an event, as a machine that is gone does; notes every event."""

    def __init__(self, at):
        self.at, self.seen = at, []

    def note(self, event, step):
        self.seen.append([event, step])
        if self.at == len(self.seen) - 1 or self.at == [event, step]:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner, name):
        """Note every call of a function, before it is done."""
        original = getattr(owner, name)

        def called(*given, **named):
            self.note(f"before {name}", TRAINER[0].state.global_step)
            return original(*given, **named)

        setattr(owner, name, called)

    def listen(self, trainer):
        original = trainer.callback_handler.call_event

        def call_event(event, args, state, control, **given):
            self.note(event, state.global_step)
            result = original(event, args, state, control, **given)
            self.note(f"after {event}", state.global_step)
            return result

        trainer.callback_handler.call_event = call_event
        for name in ("_save_optimizer_and_scheduler", "_save_rng_state", "_load_rng_state"):
            self.before(trainer, name)
        for name in ("seal", "_remove_older"):
            self.before(saving, name)
        self.before(saving.syscalls, "rename")


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


def train(folder, kill=None, lr=None, policy="newest", past=0, forget=None, replay=False, extra=None, **more):
    """The result of a training: what it logged, and digests of what it is at the end."""
    killed, trainer = Killed(kill), made(folder, **more)
    TRAINER[:] = [trainer]
    if forget == "rng":
        trainer._load_rng_state = lambda checkpoint: None
    killed.listen(trainer)
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


def refusal(folder, part):
    """What a training says that does not begin; nothing of its folder may change."""
    try:
        result, _ = train(folder, **part)
        return f"trained to step {result['step']}"
    except CkptError as error:
        return f"{type(error).__name__}: {error}"


def digest(value):
    """A digest of a tree, to the bit."""
    if isinstance(value, torch.Tensor):
        value = value.numpy().tobytes()
    elif isinstance(value, np.ndarray):
        value = value.tobytes()
    elif isinstance(value, dict):
        value = [[str(key), digest(item)] for key, item in value.items()]
    elif isinstance(value, list | tuple):
        value = [digest(item) for item in value]
    return hashlib.sha256(repr(value).encode()).hexdigest()


def in_a_fork(folder, part):
    """What `train` gives, of a process of its own; {"killed": signal} or {"error": …} where it ends otherwise."""
    out = folder + ".json"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.stdout = sys.stderr
            try:
                if "refused" in part:
                    answer = {"refusals": [refusal(folder, one) for one in part["refused"]]}
                else:
                    result, seen = train(folder, **part)
                    answer = {"result": result, "seen": seen}
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            with open(out, "w") as file:
                json.dump(answer, file)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    with open(out) as file:
        return json.load(file)


def main(folder):
    torch.set_num_threads(1)
    made(folder)  # imports the rest of transformers once, not in every fork
    answers = {}
    for number, (name, parts) in enumerate(json.load(sys.stdin).items()):
        place = os.path.join(folder, f"run-{number}")
        ends = [
            in_a_fork(place, part if "refused" in part else {"past": past, **part}) for past, part in enumerate(parts)
        ]
        answers[name] = {**ends[-1], "ends": [next(iter(end)) for end in ends], "folder": place}
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1])
