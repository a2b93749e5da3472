"""Run by torchrun: DeepSpeed's own mixture of experts, saved with its experts split among the ranks."""

import sys
from pathlib import Path

import deepspeed
import no_compiler  # noqa: F401
import torch
import torch.distributed as dist
from deepspeed.moe.layer import MoE
from deepspeed.moe.utils import split_params_into_different_moe_groups_for_optimizer


class Model(torch.nn.Module):
    """Two layers of four experts each, between a layer that every rank has and another."""

    def __init__(self, ranks):
        super().__init__()
        self.first = torch.nn.Linear(6, 6)
        self.experts = torch.nn.ModuleList(
            MoE(6, torch.nn.Linear(6, 6), num_experts=4, ep_size=ranks, k=1, min_capacity=0) for _ in range(2)
        )
        self.last = torch.nn.Linear(6, 2)

    def forward(self, x):
        x = self.first(x)
        for layer in self.experts:
            x = layer(x)[0]
        return self.last(x)


def main():
    out, stage = Path(sys.argv[1]), int(sys.argv[2])
    deepspeed.init_distributed("gloo")
    torch.manual_seed(0)
    model = Model(dist.get_world_size())
    groups = split_params_into_different_moe_groups_for_optimizer({"params": list(model.parameters()), "name": "all"})
    config = {
        "train_batch_size": 2 * dist.get_world_size(),
        "zero_optimization": {"stage": stage},
        "bf16": {"enabled": stage > 0},
    }
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    dtype = torch.bfloat16 if stage else torch.float32
    for _ in range(2):
        loss = engine(torch.randn(2, 6, dtype=dtype)).float().square().mean()
        engine.backward(loss)
        engine.step()
    engine.save_checkpoint(str(out / "run"))
    every = [None] * dist.get_world_size()
    dist.all_gather_object(every, {name: value.clone() for name, value in engine.module.state_dict().items()})
    if dist.get_rank() == 0:
        torch.save(every, out / "ranks.pt")
    dist.barrier()
    dist.destroy_process_group()


main()
