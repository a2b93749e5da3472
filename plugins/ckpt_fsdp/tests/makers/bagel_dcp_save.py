"""A tiny BAGEL trained a step under FSDP2, saved with stock DCP and as BAGEL's trainers do.

OUT/dcp             model, EMA and optimizer in one DCP directory
OUT/bagel-sharded   a DCP directory of each, metadata.json
OUT/bagel-ranks     a file of DTensors of each by rank, metadata.json
OUT/bagel-fsdp2     whole weights as safetensors, the optimizer by rank
OUT/expected.pt     the whole weights, as the ranks gathered them
"""

import copy
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from tiny_bagel import build, question
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_optimizer_state_dict
from torch.distributed.fsdp import fully_shard


def shard(model):
    for layer in model.language_model.model.layers:
        fully_shard(layer)
    return fully_shard(model)


def main(out):
    dist.init_process_group("gloo")
    model = build(0, linear=False)
    ema = shard(copy.deepcopy(model))
    model = shard(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    logits, latents = model(*question())
    (logits.square().mean() + latents.square().mean()).backward()
    optimizer.step()
    with torch.no_grad():
        for average, parameter in zip(ema.parameters(), model.parameters(), strict=True):
            average.lerp_(parameter, 0.1)
    state = {
        "model": get_model_state_dict(model),
        "ema": get_model_state_dict(ema),
        "optimizer": get_optimizer_state_dict(model, optimizer),
    }
    dcp.save(state, checkpoint_id=out / "dcp")
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    expected = {"model": get_model_state_dict(model, options=whole), "ema": get_model_state_dict(ema, options=whole)}
    save_as_bagel(out, state, expected)
    if dist.get_rank() == 0:
        torch.save(expected, out / "expected.pt")
    dist.destroy_process_group()


def save_as_bagel(out, state, expected):
    rank, world = dist.get_rank(), dist.get_world_size()
    metadata = {"train_steps": 6, "world_size": world, "checkpoint_type": "sharded", "has_ema": True}
    metadata |= {"has_scheduler": False, "has_data_status": False}
    for name in ("sharded", "ranks", "fsdp2"):
        (out / f"bagel-{name}").mkdir(exist_ok=True)
    for label in ("model", "ema"):
        dcp.save(state[label], checkpoint_id=out / "bagel-sharded" / f"{label}_sharded")
        torch.save(state[label], out / "bagel-ranks" / f"{label}_rank{rank:05d}.pt")
        if rank == 0:
            save_file(expected[label], out / "bagel-fsdp2" / f"{label}.safetensors")
    torch.save(state["optimizer"], out / "bagel-ranks" / f"optimizer_rank{rank:05d}.pt")
    torch.save(state["optimizer"], out / "bagel-sharded" / f"optimizer_rank{rank:05d}.pt")
    torch.save(state["optimizer"], out / "bagel-fsdp2" / f"optimizer_rank{rank:05d}_of{world:05d}.pt")
    if rank == 0:
        for name in ("sharded", "ranks"):
            (out / f"bagel-{name}" / "metadata.json").write_text(json.dumps(metadata))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
