"""Run by torchrun at four ranks, `OUT`: every way that torch spreads a model saved, by `save` and by a Checkpointer.

Each rank notes in `OUT/rank-N.json` what it found, by the name of the way.
"""

import json
import sys
from pathlib import Path

import live_models as live
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from live_load import local
from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_optimizer_state_dict
from torch.distributed.fsdp import ShardingStrategy

import ckpt_core
from ckpt_core.training import Checkpointer


def ways():
    """A function of a seed for each way."""
    mesh = live.mesh_of([0, 1, 2, 3])
    grid = live.mesh_of([[0, 1], [2, 3]], mesh_dim_names=("dp", "tp"))
    hybrid = {"sharding_strategy": ShardingStrategy.HYBRID_SHARD, "device_mesh": grid}
    return {
        "fsdp2": lambda seed: live.fsdp2(mesh, seed),
        "hsdp": lambda seed: live.fsdp2(grid, seed),
        "tensor-parallel": lambda seed: live.tensor_parallel(mesh, seed),
        "both": lambda seed: live.both(grid, seed),
        "ddp": live.ddp,
        "fsdp1": live.fsdp1,
        "fsdp1-orig": lambda seed: live.fsdp1(seed, use_orig_params=True),
        "fsdp1-hybrid": lambda seed: live.fsdp1(seed, **hybrid),
    }


def trained(model, optimizer, steps):
    """Steps with gradients that are alike for every way, since all ranks have the same samples."""
    losses = []
    for step in range(steps):
        torch.manual_seed(step + int(optimizer.param_groups[0]["lr"]))
        loss = model(torch.randint(7, (4,))).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=False)


def held(model, optimizer):
    """What this rank holds of both, as numbers of bytes that are equal where all of it is."""
    state = {"model": get_model_state_dict(model), "optimizer": get_optimizer_state_dict(model, optimizer)["state"]}
    return {path: [part.tolist() for part in parts] for path, parts in flat(state, "")}


def flat(tree, path):
    for key in sorted(tree):
        value = tree[key]
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        elif hasattr(value, "local_shards"):
            yield path + key, [shard.tensor for shard in value.local_shards()]
        elif isinstance(value, torch.Tensor):
            yield path + key, [local(value)]


def by_save(out, name, make):
    """Saved as torch's functions give it, and read back by stock torch."""
    model = make(0)
    optimizer = adamw(model)
    trained(model, optimizer, 2)
    state = {"model": get_model_state_dict(model), "optimizer": get_optimizer_state_dict(model, optimizer)}
    with ckpt_core.torchrun_ranks() as ranks:  # else the copies of DDP are nothing that ranks share
        report = ckpt_core.save(state, str(out / name), format="dcp", ranks=ranks)
    wanted = held(model, optimizer)
    again = make(5)
    other = adamw(again)
    trained(again, other, 1)
    into = {"model": get_model_state_dict(again), "optimizer": get_optimizer_state_dict(again, other)}
    # Torch flattens the shares of FSDP1 twice, and then does not find its own optimizers either.
    dcp.load(into, checkpoint_id=out / name, planner=dcp.DefaultLoadPlanner(flatten_sharded_tensors=False))
    read = {
        path: [part.tolist() for part in parts]
        for path, parts in flat({**into, "optimizer": into["optimizer"]["state"]}, "")
    }
    return [read == wanted, sum(size for path, size in report.files.items() if path.endswith(".distcp"))]


def by_checkpointer(out, name, make):
    """Stopped behind step 2 and gone on with by fresh objects, as if it had not been."""

    def training(seed, run):
        model = make(seed)
        optimizer = adamw(model)
        return model, optimizer, Checkpointer(str(out / run), model=model, optimizer=optimizer, format="dcp")

    model, optimizer, checkpointer = training(0, f"run-{name}")
    with checkpointer:
        trained(model, optimizer, 2)
        checkpointer.save(2)
        after, wanted = trained(model, optimizer, 2), held(model, optimizer)
    model, optimizer, checkpointer = training(5, f"run-{name}")
    with checkpointer:
        step = checkpointer.resume("required").step
        again = trained(model, optimizer, 2)
        same = held(model, optimizer) == wanted
    return [step, again == after, same]


def before_a_step(out, make):
    """Saved before the first step: torch has no state of the optimizer yet, and none is made of it."""
    found = []
    for _ in range(2):
        model = make(0)
        optimizer = adamw(model)
        with Checkpointer(str(out / "begun"), model=model, optimizer=optimizer, format="dcp") as checkpointer:
            checkpointer.resume()
            if not found:
                checkpointer.save(0)
            found.append([len(optimizer.state), trained(model, optimizer, 2)])
    return found


def onto_another(out, ways, saved, name):
    """A run of one way gone on with by another."""
    model = ways[name](5)
    optimizer = adamw(model)
    with Checkpointer(str(out / f"run-{saved}"), model=model, optimizer=optimizer, format="dcp") as checkpointer:
        return [checkpointer.resume("required").step, trained(model, optimizer, 2)]


def main(out):
    dist.init_process_group("gloo")
    out, made = Path(out), ways()
    found = {name: [*by_save(out, name, make), *by_checkpointer(out, name, make)] for name, make in made.items()}
    found["before a step"] = before_a_step(out, made["fsdp1"])
    for saved, name in (("fsdp1", "fsdp2"), ("fsdp2", "fsdp1"), ("both", "hsdp")):
        found[f"{saved} onto {name}"] = [onto_another(out, made, saved, name), onto_another(out, made, saved, saved)]
    (out / f"rank-{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
