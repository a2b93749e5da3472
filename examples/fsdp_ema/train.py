"""A small training with an average of its weights under FSDP2, that any number of ranks goes on with.

torchrun --nproc_per_node 4 train.py runs/bagel --steps 60
"""

import argparse
import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from ckpt_core.training import Checkpointer, KeyedLoader


class Pictures:
    """Pairs of a few tokens and a picture that follows from them."""

    def __len__(self) -> int:
        return 960

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.randint(0, 64, (8,))
        return tokens, torch.sin(tokens.float().repeat_interleave(2) / 10) + torch.randn(16) / 50


class Block(nn.Module):
    """Attention with two experts behind it, one of understanding and one of generation, as in BAGEL."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width))
        self.mlp_moe_gen = copy.deepcopy(self.mlp)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.attention(hidden, hidden, hidden, need_weights=False)[0]
        return hidden + self.mlp(hidden) + self.mlp_moe_gen(hidden)


class TinyBagel(nn.Module):
    """Tokens in, a picture out."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, width)
        self.layers = nn.ModuleList([Block(width), Block(width)])
        self.llm2vae = nn.Linear(width, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(tokens)
        for layer in self.layers:
            hidden = layer(hidden)
        return torch.cat(self.llm2vae(hidden).unbind(1), 1)


def sharded(model: TinyBagel) -> TinyBagel:
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    return model


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move an average towards a model: each rank its own shards."""
    for mean, own in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(own, 1 - decay)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--save-every", type=int, default=20)
    arguments = parser.parse_args()
    dist.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)  # the same first weights at every rank
    model = TinyBagel()
    average = sharded(copy.deepcopy(model))
    model = sharded(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps)
    torch.manual_seed(rank)
    loader = KeyedLoader(Pictures(), batch_size=24, seed=42, rank=rank, world=world)
    with Checkpointer(
        arguments.run,
        model=model,
        optimizer=optimizer,
        scheduler=schedule,
        ema=average,
        loader=loader,
        save_every=arguments.save_every,
        keep=2,
        background=True,
        preemption=True,
        format="dcp",
        arguments=vars(arguments),
    ) as checkpointer:
        resumed = checkpointer.resume(max_steps=arguments.steps)
        step = resumed.step
        if rank == 0:
            print(f"{world} ranks begin behind step {step}\n{resumed.summary()}", flush=True)
        while step < arguments.steps:
            for tokens, picture in loader:
                loss = (model(tokens) - picture).square().mean()
                loss.backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                follow(average, model, 0.95)
                step += 1
                if rank == 0:
                    print(f"step {step}: loss {loss.item():.4f}", flush=True)
                checkpointer.after_step(step, metrics={"loss": loss.item()})
                if step == arguments.steps:
                    break
        if step % arguments.save_every:
            checkpointer.save(step)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
