"""Lightning's Trainer under ModelParallelStrategy on CPU ranks: trains and saves, or resumes and goes on.

lightning_training.py OUT train                 OUT/run/epoch=0-step=2.ckpt, epoch=1-step=4.ckpt, …; OUT/plain: without
                                                a schedule; OUT/noisy: with dropout; OUT/weights: save_weights_only;
                                                OUT/final.json
lightning_training.py OUT resume CHECKPOINT…    OUT/outcomes.json: by name what the run came to, or how it failed
"""

import json
import logging
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from resumed_runs import Notes, digest_of
from torch import nn
from torch.distributed.fsdp import fully_shard

EPOCHS = 3
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")


class Model(LightningModule):
    def __init__(self, kind):
        super().__init__()
        self.save_hyperparameters()
        dropout = 0.5 if kind == "noisy" else 0.0
        self.net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(dropout), nn.Linear(5, 3))
        self.losses = []

    def configure_model(self):
        if not any(hasattr(parameter, "to_local") for parameter in self.parameters()):
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch):
        loss = self.net(batch[0]).square().mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        if self.hparams.kind == "plain":
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}


def run(folder, kind, checkpoint=None):
    seed_everything(3, verbose=False)
    saving = ModelCheckpoint(folder, save_top_k=-1, every_n_epochs=1, save_weights_only=kind == "weights")
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=ModelParallelStrategy(2, 1), max_epochs=EPOCHS, callbacks=[saving],
        logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    model = Model(kind)
    samples = torch.utils.data.TensorDataset(torch.arange(48.0).reshape(8, 6) / 48)
    trainer.fit(model, torch.utils.data.DataLoader(samples, batch_size=2), ckpt_path=checkpoint, weights_only=False)
    return {"digest": digest_of(model.state_dict()), "losses": model.losses[-2:], "step": trainer.global_step}


def main(out, job, *attempts):
    out = Path(out)
    if job == "train":
        outcome = {kind: run(out / kind, kind) for kind in ("run", "plain", "noisy", "weights")}
        if dist.get_rank() == 0:
            (out / "final.json").write_text(json.dumps(outcome))
    elif not dist.is_initialized():
        dist.init_process_group("gloo")  # for the notes; Lightning takes the one that there is
    Notes(out / "outcomes.json").attempt_each(attempts, partial(run, out / "resumed"))


if __name__ == "__main__":
    main(*sys.argv[1:])
