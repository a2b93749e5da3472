"""Trainings that are killed and go on, each in a fork: importing what they train with takes seconds.

JOBS: {name: [part, …]}; a part: arguments of a `train(folder, **part)`, which gives a result and the events that it
saw, or {"refused": [part, …]}. `main` prints {name: {"result": …, "seen": [[event, step], …], "ends": […]}}, of the
last part.
"""

import hashlib
import json
import os
import random
import signal
import sys
import traceback

import numpy as np
import torch

from ckpt_core import CkptError

SAMPLES = 22
"""In batches of 4 and groups of 2: three steps an epoch, the last batch not full."""

DRAWS = {
    "none": lambda: 0.0,
    "torch": lambda: torch.randn(()).item(),
    "numpy": lambda: float(np.random.randn()),
    "python": lambda: random.gauss(0, 1),
}


class Killed:
    """Ends the process at an event, as a machine that is gone does; notes every event."""

    def __init__(self, at, step):
        self.at, self.step, self.seen = at, step, []

    def note(self, event):
        step = self.step()
        self.seen.append([event, step])
        if self.at == len(self.seen) - 1 or self.at == [event, step]:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner, name):
        """Note every call of a function, before it is done."""
        original = getattr(owner, name)

        def called(*given, **named):
            self.note(f"before {name}")
            return original(*given, **named)

        setattr(owner, name, called)


def refusal(train, folder, part):
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


def in_a_fork(train, folder, part):
    """What `train` gives, of a process of its own; {"killed": signal} or {"error": …} where it ends otherwise."""
    out = folder + ".json"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.stdout = sys.stderr
            try:
                if "refused" in part:
                    answer = {"refusals": [refusal(train, folder, one) for one in part["refused"]]}
                else:
                    result, seen = train(folder, **part)
                    answer = {"result": result, "seen": seen}
            except SystemExit as end:
                answer = {f"exit {end.code}": sorted(os.listdir(folder))}
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


def main(train, folder):
    torch.set_num_threads(1)
    answers = {}
    for number, (name, parts) in enumerate(json.load(sys.stdin).items()):
        place = os.path.join(folder, f"run-{number}")
        ends = [
            in_a_fork(train, place, part if "refused" in part else {"past": past, **part})
            for past, part in enumerate(parts)
        ]
        answers[name] = {**ends[-1], "ends": [next(iter(end)) for end in ends], "folder": place}
    print(json.dumps(answers))
