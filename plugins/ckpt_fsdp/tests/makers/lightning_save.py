"""Lightning's own sharded directories, on CPU ranks: a Trainer's under its model-parallel strategy, and FSDPStrategy's.

Run as: lightning_save.py OUT STRATEGY. OUT gets `runs/epoch=0-step=2.ckpt` and, of the Trainer,
`runs/epoch=1-step=4.ckpt`; and `whole.pt`: the last LightningModule's own state dict, gathered.
"""

import logging
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import (
    FullStateDictConfig,
    FullyShardedDataParallel,
    StateDictType,
    _init_utils,
    fully_shard,
)
from torch.utils.data import DataLoader

OUT, STRATEGY = Path(sys.argv[1]), sys.argv[2]
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Model(LightningModule):
    def __init__(self, width=5):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))

    def forward(self, batch):
        return self.net(batch)

    def configure_model(self):
        if not any(hasattr(parameter, "to_local") for parameter in self.parameters()):
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch):
        return self.net(batch).square().sum()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1)}


def with_the_trainer():
    saving = ModelCheckpoint(dirpath=OUT / "runs", save_top_k=-1, every_n_epochs=1)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=ModelParallelStrategy(2, 1), max_epochs=2, limit_train_batches=2,
        callbacks=[saving], logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    model = Model()
    trainer.fit(model, DataLoader(torch.ones(8, 6), batch_size=2))
    return {name: tensor.full_tensor() for name, tensor in model.state_dict().items()}


def with_the_strategy_alone():
    """The Trainer refuses FSDPStrategy without a GPU; its own functions save on any device."""
    dist.init_process_group("gloo")
    # FSDP1 gives the CPU the number 0, and then finds that its tensors are on another device than cpu:0.
    _init_utils._get_device_from_device_id = lambda *_: torch.device("cpu")
    module = Model()
    strategy = FSDPStrategy(state_dict_type="sharded", parallel_devices=[torch.device("cpu")] * dist.get_world_size())
    strategy.model = FullyShardedDataParallel(module, device_id=torch.device("cpu"), use_orig_params=True)
    optimizer = torch.optim.AdamW(strategy.model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(2):
        strategy.model(torch.ones(2, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    checkpoint = {
        "epoch": 0,
        "global_step": 2,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": strategy.lightning_module_state_dict(),
        "optimizer_states": [strategy.optimizer_state(optimizer)],
        "lr_schedulers": [scheduler.state_dict()],
        "MixedPrecision": {"scale": 65536.0, "growth_factor": 2.0},
        "hyper_parameters": {"width": 5},
    }
    strategy.save_checkpoint(checkpoint, OUT / "runs" / "epoch=0-step=2.ckpt")
    config = FullStateDictConfig(rank0_only=False)
    with FullyShardedDataParallel.state_dict_type(strategy.model, StateDictType.FULL_STATE_DICT, config):
        return {name: tensor.clone() for name, tensor in strategy.model.state_dict().items()}


seed_everything(0, verbose=False)
whole = with_the_trainer() if STRATEGY == "model-parallel" else with_the_strategy_alone()
if dist.get_rank() == 0:
    torch.save(whole, OUT / "whole.pt")
dist.barrier()
dist.destroy_process_group()
