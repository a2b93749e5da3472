"""Trainers killed while they write the checkpoint of step 2 over a run that has the one of step 1.

python killed_saves.py WRITER OUT EVERY: OUT gets `whole`, the run after an undisturbed save, `before`, and of every
EVERY-th point `points/NUMBER-HOW`, the run as a kill at that call left it; and `calls.json`.

Everything is imported and trained once; each kill is a fork of the trainer at the moment before it saves.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.integration.resume.system_calls import TORN, Strike, fork_watched

WIDTH = 48


class Points:
    """The run, and the forks of this process that are killed in it."""

    def __init__(self, out, every):
        self.run, self._out, self._every = out / "run", out, every
        self.run.mkdir(parents=True)
        self.at_end = lambda: None

    def fork(self):
        """In each child, return, so that it saves; in the parent, never."""
        shutil.copytree(self.run, self._out / "before")
        whole = fork_watched(self.run, None)
        if whole is None:
            return
        assert whole.exit_code == 0, "the undisturbed save failed"
        self._keep("whole")
        points = [Strike(number) for number in range(1, len(whole.calls) + 1)]
        points += [Strike(number, torn=True) for number, (name, _) in enumerate(whole.calls, 1) if name in TORN]
        for strike in sorted(points)[:: self._every]:
            ending = fork_watched(self.run, strike)
            if ending is None:
                return
            assert ending.killed, (strike, ending)
            self._keep(f"points/{strike.number:04}-{'torn' if strike.torn else 'before'}")
        self.at_end()
        (self._out / "calls.json").write_text(json.dumps({"calls": whole.calls, "points": len(points)}))
        os._exit(0)

    def _keep(self, name):
        (self._out / name).parent.mkdir(exist_ok=True)
        self.run.rename(self._out / name)
        shutil.copytree(self._out / "before", self.run)


def saved():
    """A child has saved: it ends at once, with nothing done behind the save."""
    os._exit(0)


def parts(steps):
    """A model that was trained for so many steps, its optimizer and scheduler."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH))
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(steps):
        model(torch.ones(2, WIDTH)).square().sum().backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return model, optimizer, scheduler


def state(steps: int) -> dict[str, Any]:
    model, optimizer, scheduler = (part.state_dict() for part in parts(steps))
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "step": steps}


def torch_save(points):
    """torch.save under a name for each step."""
    first, second = state(1), state(2)
    torch.save(first, points.run / "step_1.pt")
    points.fork()
    torch.save(second, points.run / "step_2.pt")
    saved()


def torch_save_over(points):
    """torch.save over the one file there is, beside an older one."""
    first, second = state(1), state(2)
    torch.save(first, points.run / "step_1.pt")
    torch.save(first, points.run / "last.pt")
    points.fork()
    torch.save(second, points.run / "last.pt")
    saved()


def dcp_save(points):
    """dcp.save of one process, a directory for each step."""
    import torch.distributed.checkpoint as dcp

    first, second = state(1), state(2)
    dcp.save(first, checkpoint_id=points.run / "step_1", no_dist=True)
    points.fork()
    dcp.save(second, checkpoint_id=points.run / "step_2", no_dist=True)
    saved()


def llama():
    """A model of transformers with one small layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 64, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes))


class Samples(torch.utils.data.Dataset):
    """Eight short texts of tokens."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        ids = torch.arange(8) + index
        return {"input_ids": ids, "labels": ids}


def trainer_of(folder: Path, callbacks: Sequence[Any] = ()) -> Any:
    """A Trainer that saves each of its four steps to a folder."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        str(folder), max_steps=4, save_steps=1, save_total_limit=1, per_device_train_batch_size=2,
        report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    return Trainer(llama(), arguments, train_dataset=Samples(), callbacks=list(callbacks))


def trainer(points):
    """transformers' Trainer, which removes the checkpoint of step 1 once it has that of step 2."""
    from transformers import TrainerCallback

    class BeforeTheSecondSave(TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            if state.global_step == 2:
                points.fork()

        def on_save(self, args, state, control, **more):
            if state.global_step == 2:
                saved()

    trainer_of(points.run, [BeforeTheSecondSave()]).train()


def lightning(points):
    """Lightning's ModelCheckpoint: a file for each step, and last.ckpt over and over."""
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch.utils.data import DataLoader

    class Model(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(WIDTH, WIDTH)

        def training_step(self, batch):
            return self.net(batch).square().sum()

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters())
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1)}

    class BeforeTheSecondSave(Callback):
        def on_train_batch_end(self, trainer, *more):
            if trainer.global_step == 2:
                points.fork()

        def on_train_batch_start(self, trainer, *more):
            if trainer.global_step == 2:
                saved()

    saving = ModelCheckpoint(dirpath=points.run, every_n_train_steps=1, save_top_k=-1, save_last=True)
    saving.CHECKPOINT_NAME_LAST = "last"
    Trainer(
        accelerator="cpu", max_steps=4, callbacks=[BeforeTheSecondSave(), saving], logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(Model(), DataLoader(torch.ones(8, WIDTH), batch_size=2))  # fmt: skip


def lightning_across(points):
    """The same where temporary files are on another disk than the run, so that each is copied to its place."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        tempfile.tempdir = folder
        points.at_end = lambda: shutil.rmtree(folder)
        lightning(points)


WRITERS = {
    writer.__name__: writer for writer in (dcp_save, lightning, lightning_across, torch_save, torch_save_over, trainer)
}

if __name__ == "__main__":
    WRITERS[sys.argv[1]](Points(Path(sys.argv[2]), int(sys.argv[3])))
