"""Lightning's Trainer on a tiny module: trains and saves, or resumes from a file and prints the losses.

python lightning_runs.py train OUT            OUT/{full,weights,two,averaged}/*.ckpt, the first with last.ckpt
python lightning_runs.py resume CHECKPOINT    Trainer.fit(ckpt_path=CHECKPOINT); prints steps and losses
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

warnings.filterwarnings("ignore")


class Module(LightningModule):
    def __init__(self, width=8, two=False):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = not two
        self.net = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
        self.losses = []

    def training_step(self, batch, _):
        loss = self.net(batch[0]).square().mean()
        self.losses.append((self.trainer.global_step, loss.item()))
        if self.automatic_optimization:
            return loss
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return None

    def configure_optimizers(self):
        first = torch.optim.AdamW(self.net[0].parameters() if self.hparams.two else self.parameters(), lr=0.01)
        if self.hparams.two:
            return [first, torch.optim.SGD(self.net[2].parameters(), lr=0.01, momentum=0.9)]
        return [first], [torch.optim.lr_scheduler.StepLR(first, 1)]


def trainer(folder, epochs, **saving):
    callback = ModelCheckpoint(folder, save_top_k=-1, **saving)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(max_epochs=epochs, accelerator="cpu", devices=1, callbacks=[callback], **quiet)


def fit(trainer, module, **more):
    seed_everything(3, verbose=False)
    data = torch.utils.data.TensorDataset(torch.arange(32.0).reshape(8, 4) / 32)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=2), **more)
    return module.losses


def main(job, folder):
    if job == "train":
        seed_everything(3, verbose=False)
        losses = fit(trainer(f"{folder}/full", 3, save_last=True), Module())
        (Path(folder) / "losses.json").write_text(json.dumps(losses))
        fit(trainer(f"{folder}/weights", 1, save_weights_only=True), Module())
        fit(trainer(f"{folder}/two", 1), Module(two=True))
        averaging = trainer(f"{folder}/averaged", 1)
        averaging.callbacks.append(EMAWeightAveraging(decay=0.5))
        fit(averaging, Module())
        return
    losses = fit(trainer(f"{folder}-resumed", 3), Module(), ckpt_path=folder)
    print("LOSSES", json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
