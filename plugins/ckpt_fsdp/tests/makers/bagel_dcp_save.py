"""A tiny BAGEL trained a step under FSDP2, saved with stock DCP: model, EMA and optimizer. OUT/dcp, OUT/expected.pt."""

import copy
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
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
    if dist.get_rank() == 0:
        torch.save(expected, out / "expected.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
