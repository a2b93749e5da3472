"""Run by torchrun at two ranks, `OUT SAVES [PLACE]`: dcp.save and dcp.async_save through CkptStorageWriter.

Each rank notes what it found in `OUT/rank-N.json`, by the name of the case. PLACE is where they save to; OUT without.
"""

import json
import sys
from pathlib import Path

import live_models as live
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from live_load import local
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.staging import BlockingAsyncStager, DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import ckpt_core


def writer_to(place, **how):
    from ckpt_fsdp import CkptStorageWriter

    return CkptStorageWriter(place, **how)


def state_of(mesh, seed=0):
    model = live.fsdp2(mesh, seed)
    optimizer = live.adamw(model)
    own = {"own": torch.arange(4.0) + seed}
    return {"app": {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}, **own}


def saved(out, mesh):
    """A sharded state with replicas: what stock torch and ours read of it."""
    from ckpt_fsdp import CkptStorageReader

    state, place = state_of(mesh), f"{out}/saved"
    writer = writer_to(place, provenance={"step": 3})
    dcp.save(state, storage_writer=writer)
    stock = {"storage_reader": CkptStorageReader(place)} if "://" in place else {"checkpoint_id": place}
    for reader in (stock, {"storage_reader": CkptStorageReader(place)}):
        again = state_of(mesh, 7)
        dcp.load(again, **reader)
        assert all(torch.equal(*pair) for pair in zip(leaves(again), leaves(state), strict=True))
    return None if writer.report is None else sorted(writer.report.files)


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree, key=str) for leaf in leaves(tree[key])]
    if isinstance(tree, list):
        return [leaf for item in tree for leaf in leaves(item)]
    return [local(tree)] if isinstance(tree, torch.Tensor) else []


class Failing(dcp.DefaultSavePlanner):
    """A planner whose data is gone at one rank."""

    def resolve_data(self, item):
        if dist.get_rank() == 1:
            raise ckpt_core.BudgetError("the disk is full; make room")
        return super().resolve_data(item)


def failing(out, mesh):
    """What one rank fails with, at each; then a save to the same place."""
    state, place, said = state_of(mesh), f"{out}/failing", []
    for how in ({"planner": Failing()}, {"checkpoint_id": f"{out}/saved"}, {"planner": OddPlanner()}):
        writer = writer_to(place)
        try:
            dcp.save(state, storage_writer=writer, **how)
        except CheckpointException as error:
            said.append(sorted({f"{type(one).__name__}: {one}" for one, _ in error.failures.values()}))
    dist.barrier()
    dcp.save(state, storage_writer=writer_to(place))
    dist.barrier()
    return said


class OddPlanner(dcp.DefaultSavePlanner):
    """A planner that keeps an object of its own."""

    def create_global_plan(self, plans):
        made, metadata = super().create_global_plan(plans)
        metadata.planner_data = [self]
        return made, metadata


def in_background(out, mesh, name, saves, **how):
    """Saves with the weights overwritten right behind each."""
    model = {
        "w": distribute_tensor(torch.zeros(64, 33), mesh, [Shard(0)]),
        "b": distribute_tensor(torch.zeros(9), mesh, [Replicate()]),
    }
    kind = how.pop("kind", AsyncCheckpointerType.THREAD)
    group = dist.new_group(backend="gloo")
    for step in range(saves):
        for tensor in model.values():
            local(tensor).fill_(step)
        writer = writer_to(f"{out}/{name}/{step}", provenance={"step": step})
        done = dcp.async_save(
            {"model": model, "step": step},
            storage_writer=writer,
            async_checkpointer_type=kind,
            process_group=group,
            **how,
        )
        if hasattr(done, "staging_completion"):
            done.staging_completion.result()
            done = done.upload_completion
        for tensor in model.values():
            local(tensor).fill_(-1.0)
        done.result()
    dist.barrier()
    return saves


def cases(out, mesh, saves):
    yield "saved", lambda: saved(out, mesh)
    yield "failing", lambda: failing(out, mesh)
    yield "thread", lambda: in_background(out, mesh, "thread", saves)
    if saves < 20:
        return
    yield "blocking", lambda: in_background(out, mesh, "blocking", saves, async_stager=BlockingAsyncStager())
    stager = DefaultStager(StagingOptions(False, False, True, False))
    yield "stager", lambda: in_background(out, mesh, "stager", saves, async_stager=stager)
    process = AsyncCheckpointerType.PROCESS
    yield "process", lambda: in_background(out, mesh, "process", saves, kind=process)
    shared = DefaultStager(StagingOptions(False, True, True, False))
    yield "shared", lambda: in_background(out, mesh, "shared", saves, kind=process, async_stager=shared)


def main(out, saves, place=""):
    dist.init_process_group("gloo")
    mesh = live.mesh_of(list(range(dist.get_world_size())))
    found = {name: work() for name, work in cases(place or out, mesh, int(saves))}
    (Path(out) / f"rank-{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
