"""A run of verl's FSDP checkpoints of two ranks: python verl_run.py OUT STEP...

Names and contents are those of verl `verl/utils/checkpoint/fsdp_checkpoint_manager.py` (save_checkpoint) and
`verl/trainer/ppo/ray_trainer.py` (_save_checkpoint). Each rank's DTensors are made by torch under its own fake process
group, which needs no second process.
"""

import os
import random
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

WORLD = 2


def save(folder, rank, step):
    torch.manual_seed(step)
    mesh = init_device_mesh("cpu", (WORLD,))
    local = torch.nn.Parameter(DTensor.from_local(torch.randn(3, 4), mesh, [Shard(0)]))
    optimizer = torch.optim.AdamW([local], foreach=False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1.0 / (done + 1))
    local.grad = DTensor.from_local(torch.ones(3, 4), mesh, [Shard(0)])
    optimizer.step()
    scheduler.step()
    name = f"world_size_{WORLD}_rank_{rank}.pt"
    torch.save({"layer.weight": local.detach()}, folder / f"model_{name}")
    torch.save(optimizer.state_dict(), folder / f"optim_{name}")
    rng = {"cpu": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}
    torch.save({"lr_scheduler": scheduler.state_dict(), "rng": rng}, folder / f"extra_state_{name}")


def main(out, *steps):
    for rank in range(WORLD):
        if os.fork():  # torch keeps the mesh of a process: each rank needs one of its own
            assert os.wait()[1] == 0
            continue
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=WORLD)
        for step in map(int, steps):
            folder = Path(out) / f"global_step_{step}" / "actor"
            folder.mkdir(parents=True, exist_ok=True)
            save(folder, rank, step)
            torch.save({"_num_yielded": step}, folder.parent / "data.pt")
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
