"""A trainer that saves and resumes as ModularTrainer's own code does, silences included.

python modular_runs.py train OUT             OUT/ordered and OUT/shuffled with checkpoint-2, and OUT/whole.json
python modular_runs.py resume JOBS OUT       OUT/resumed.json: what became of each of JOBS, `{"name", "kind", "folder"}`

Its loader is shuffled without a seed; `ordered` is the same without shuffling, and takes the random state again after
the loader has drawn from it, which the trainer does not: so that a run can be held against one.
What a run comes to is a digest of the weights after four steps. An error in the state is printed there and the run
begins anew; here it is noted.
Source: chef-genius-ai `cli/training/checkpoint_utils.py` (save_checkpoint, load_checkpoint) and `modular_trainer.py`.
"""

import hashlib
import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

STEPS = 4


def network():
    sizes = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 33, "num_hidden_layers": 2}
    return LlamaConfig(num_attention_heads=2, num_key_value_heads=1, attention_dropout=0.2, **sizes)


class Run:
    def __init__(self, kind, seed):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        self.kind, self.step, self.state = kind, 0, None
        self.build(LlamaForCausalLM(network()))

    def build(self, model):
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)

    def train(self, until, folder=None):
        """One epoch of four batches; the first ones are passed over where it was resumed, as the trainer does."""
        rows = torch.randint(0, 33, (8, 6), generator=torch.Generator().manual_seed(1))
        loader = torch.utils.data.DataLoader(rows, batch_size=2, shuffle=self.kind == "shuffled")
        for number, batch in enumerate(loader):
            if number < self.step:
                continue
            if number == self.step == 2 and self.state is not None and self.kind == "ordered":
                self.restore()  # passing over draws nothing here, but the loader has drawn its seed
            self.model(batch, labels=batch).loss.backward()
            self.optimizer.step(), self.scheduler.step(), self.optimizer.zero_grad()
            self.step = number + 1
            if self.step == 2 and folder is not None:
                self.save(folder / "checkpoint-2")
            if self.step == until:
                return

    def save(self, folder):
        self.model.save_pretrained(folder)
        rng = {"python_rng_state": random.getstate(), "numpy_rng_state": np.random.get_state()}
        state = {"global_step": self.step, "epoch": 0, "best_loss": np.float64(1.0), "epoch_losses": []}
        state |= {"optimizer_state_dict": self.optimizer.state_dict()}
        state |= {"scheduler_state_dict": self.scheduler.state_dict()}
        state |= {"rng_states": rng | {"torch_rng_state": torch.get_rng_state()}}
        torch.save(state, folder / "training_state.pt")

    def load(self, folder):
        self.build(LlamaForCausalLM.from_pretrained(folder))
        self.state = torch.load(folder / "training_state.pt", weights_only=False)
        self.step = self.state["global_step"]
        if self.state.get("optimizer_state_dict"):
            self.optimizer.load_state_dict(self.state["optimizer_state_dict"])
        if self.state.get("scheduler_state_dict"):
            self.scheduler.load_state_dict(self.state["scheduler_state_dict"])
        self.restore()

    def restore(self):
        rng = self.state.get("rng_states")
        if rng:
            random.setstate(rng["python_rng_state"]), np.random.set_state(rng["numpy_rng_state"])
            torch.set_rng_state(rng["torch_rng_state"])

    def digest(self):
        found = hashlib.sha256()
        for tensor in self.model.state_dict().values():
            found.update(tensor.detach().contiguous().numpy().tobytes())
        return found.hexdigest()


def train(out):
    found = {}
    for kind in ("ordered", "shuffled"):
        run = Run(kind, 0)
        run.train(STEPS, out / kind)
        found[kind] = run.digest()
    (out / "whole.json").write_text(json.dumps(found))


def resume(jobs, out):
    found = {}
    for job in jobs:
        run = Run(job["kind"], 9)
        try:
            run.load(Path(job["folder"]))
        except Exception as error:  # the trainer prints it and starts from scratch
            found[job["name"]] = {"error": f"{type(error).__name__}: {error}"[:300]}
            continue
        run.train(STEPS)
        found[job["name"]] = {"digest": run.digest(), "step": run.step}
    (out / "resumed.json").write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]))
    else:
        resume(json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]))
