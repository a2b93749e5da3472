"""A training loop on Accelerate under FSDP2, on CPU ranks: saves with `save_state`, or resumes with `load_state`.

accelerate_training.py OUT train                  OUT/sharded and OUT/full: checkpoints/checkpoint_0 and _1 of one run,
                                                  by the kind of state dict; OUT/scaled: with a gradient scaler;
                                                  OUT/final.json
accelerate_training.py OUT resume KIND=CHECKPOINT…  OUT/outcomes.json: by name what the run came to, or how it failed
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, DistributedType, ProjectConfiguration, set_seed
from resumed_runs import Notes, digest_of
from torch import nn

STEPS, SAVES = 6, (2, 4)


class Counter:
    """What a program registers: how far it is."""

    def __init__(self):
        self.step = 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


class Training:
    """Rows that do not divide by two, dropout, a schedule, and data in a random order."""

    def __init__(self, folder, *, scaled=False):
        set_seed(3)
        AcceleratorState._reset_state(True)
        project = ProjectConfiguration(project_dir=str(folder), automatic_checkpoint_naming=True)
        loading = DataLoaderConfiguration(use_stateful_dataloader=True, use_seedable_sampler=True)
        self.accelerator = Accelerator(cpu=True, project_config=project, dataloader_config=loading)
        # Accelerate takes FSDP for GPUs and their like alone; told so, all of its own code runs on CPU ranks too.
        state, shared = self.accelerator.state, PartialState._shared_state
        state.distributed_type = shared["distributed_type"] = DistributedType.FSDP
        self.of_kind("sharded")
        if scaled:  # Accelerate makes one for GPUs alone, and treats this one as its own
            self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 3))
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        samples = torch.utils.data.TensorDataset(torch.arange(144.0).reshape(24, 6) / 144)
        # With a generator of its own the loader takes nothing of the random state that a resumed program has set.
        generator = torch.Generator().manual_seed(5)
        loader = torch.utils.data.DataLoader(samples, batch_size=2, shuffle=True, generator=generator)
        self.model, self.optimizer, self.scheduler, self.loader = self.accelerator.prepare(
            network, optimizer, scheduler, loader
        )
        self.counter, self.losses = Counter(), []
        self.accelerator.register_for_checkpointing(self.counter)

    def of_kind(self, kind):
        self.accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            state_dict_type=f"{kind.upper()}_STATE_DICT",
            auto_wrap_policy=None,
            cpu_ram_efficient_loading=False,
        )

    def run(self, save=None):
        for (batch,) in self.loader:
            loss = self.model(batch).square().mean()
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            self.counter.step += 1
            self.losses.append(loss.item())
            if save and self.counter.step in SAVES:
                save(self)
            if self.counter.step == STEPS:
                break
        rate = self.scheduler.get_last_lr()[0]
        digest = digest_of(self.model.state_dict())
        return {"digest": digest, "losses": self.losses[-2:], "rate": rate, "step": self.counter.step}


def save_each_kind(folder):
    def save(training):
        number = SAVES.index(training.counter.step)
        for kind in ("sharded", "full"):
            training.of_kind(kind)
            training.accelerator.project_configuration.iteration = number
            training.accelerator.project_configuration.set_directories(str(folder / kind))
            training.accelerator.save_state()

    return save


def save_scaled(folder):
    return Training(folder / "scaled", scaled=True).run(lambda each: each.accelerator.save_state())


def resumed(folder, kind, checkpoint):
    training = Training(folder, scaled="scale" in Path(checkpoint).name)
    training.of_kind(kind)
    training.accelerator.load_state(checkpoint)
    return training.run()


def main(out, job, *attempts):
    out = Path(out)
    if job == "train":
        outcome = {"plain": Training(out).run(save_each_kind(out)), "scaled": save_scaled(out)}
        if dist.get_rank() == 0:
            (out / "final.json").write_text(json.dumps(outcome))
    Notes(out / "outcomes.json").attempt_each(attempts, partial(resumed, out))


if __name__ == "__main__":
    main(*sys.argv[1:])
