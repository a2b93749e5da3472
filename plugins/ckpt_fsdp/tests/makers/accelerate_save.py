"""`Accelerator.save_state` on CPU ranks: FSDP 1 or 2, of one kind of state dict, with one model or two.

Run as: accelerate_save.py OUT VERSION KIND MODELS. OUT gets `checkpoints/checkpoint_0` and `checkpoint_1`, as
Accelerate names them, and `whole.pt`: what the tensors were, gathered on rank 0.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType, ProjectConfiguration
from torch import nn
from torch.distributed.fsdp import FullStateDictConfig, FullyShardedDataParallel, StateDictType, _init_utils

OUT, VERSION, KIND, MODELS = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])


class Counter:
    """Something of the user's own that is saved along."""

    def __init__(self):
        self.seen = 0

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def network():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))  # 5 rows and 3 do not divide by 2


def plugin():
    return FullyShardedDataParallelPlugin(
        fsdp_version=VERSION,
        state_dict_type=f"{KIND}_STATE_DICT",
        use_orig_params=KIND != "LOCAL",
        auto_wrap_policy="no_wrap" if VERSION == 1 else None,
        cpu_ram_efficient_loading=False,
    )


def train(accelerator, prepared, steps):
    for _ in range(steps):
        for model, optimizer, scheduler in prepared:
            loss = model(torch.ones(2, 6)).square().sum()
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()


def whole(model):
    """Every tensor of a model, gathered; the same names that Accelerate saves."""
    if VERSION == 2:
        return {name: tensor.full_tensor().clone() for name, tensor in model.state_dict().items()}
    config = FullStateDictConfig(rank0_only=False)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.FULL_STATE_DICT, config):
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# FSDP1 gives the CPU the number 0, and then finds that its tensors are on another device than cpu:0.
_init_utils._get_device_from_device_id = lambda *_: torch.device("cpu")
torch.manual_seed(0)
config = ProjectConfiguration(project_dir=str(OUT), automatic_checkpoint_naming=True)
accelerator = Accelerator(cpu=True, project_config=config)
# Accelerate takes FSDP for GPUs and their like alone; told so, all of its own code runs on CPU ranks too.
accelerator.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
accelerator.state.fsdp_plugin = plugin()
prepared = []
for _ in range(MODELS):
    model = network()
    if VERSION == 1:
        model = accelerator.prepare(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    if VERSION == 1:
        prepared.append((model, *accelerator.prepare(optimizer, scheduler)))
    else:
        prepared.append(accelerator.prepare(model, optimizer, scheduler))
counter = Counter()
accelerator.register_for_checkpointing(counter)
for _ in range(2):
    train(accelerator, prepared, 2)
    counter.seen += 2
    accelerator.save_state()
found = [whole(model) for model, _, _ in prepared]
if accelerator.is_main_process:
    torch.save(found, OUT / "whole.pt")
dist.barrier()
dist.destroy_process_group()
