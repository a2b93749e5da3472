"""The example with Accelerate, killed and begun again.

python accelerate_runs.py FOLDER < JOBS     as `forked` says
"""

import os
import random
import re
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "training"))
import train_accelerate

from ckpt_core.training import Checkpointer, state_dict
from tests.training.integrations.forked import Killed, digest, main


def train(folder, kill=None, past=0, workers=0, prepared=False):
    """The losses of the example, and digests of what it saved at its end."""
    if prepared:
        model = torch.nn.Linear(1, 1)
        Checkpointer(folder, model=model, loader=Accelerator().prepare(DataLoader(range(4))))
    losses = {}
    killed = Killed(kill, lambda: len(losses) and max(losses))

    def seen(text):
        if found := re.match(r"step (\d+) loss (\S+)", text):
            losses[int(found[1])] = found[2]
            killed.note("step")

    train_accelerate.print = seen
    train_accelerate.torch.manual_seed = lambda seed: torch.random.manual_seed(seed + past)
    random.seed(past), np.random.seed(past)
    sys.argv = ["train", "--run", folder, "--steps", "20", "--save-every", "1", "--workers", str(workers)]
    train_accelerate.main()
    last = os.path.join(folder, "checkpoint-20")
    labels = ("model", "optimizer", "scheduler", "rng", "sampler")
    return {"losses": losses, **{label: digest(state_dict(last, label)) for label in labels}}, killed.seen


if __name__ == "__main__":
    main(train, sys.argv[1])
