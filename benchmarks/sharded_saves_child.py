"""Run under torchrun: saves of a sharded model of about 1 GB, by ckpt and by DCP in turn; one line of JSON."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.fsdp import fully_shard

from ckpt_core import save
from ckpt_core.training import Checkpointer

FOLDER, LAYERS, WIDTH, ROUNDS = Path(sys.argv[1]), 16, 4096, 5


def model() -> torch.nn.Module:
    made = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))
    for layer in made:
        fully_shard(layer)
    return fully_shard(made)


def timed(name: str, work: Callable[[Path], object]) -> float:
    """Return the seconds of one call, the slowest rank's; what it wrote is removed."""
    place = FOLDER / name
    if dist.get_rank() == 0:
        shutil.rmtree(place, ignore_errors=True)
    os.sync()
    dist.barrier()
    began = perf_counter()
    work(place)
    seconds = torch.tensor(perf_counter() - began)
    dist.all_reduce(seconds, dist.ReduceOp.MAX)
    return float(seconds)


class Begun:
    """A save of DCP's in the background, whose thread meets the others in a group of its own."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self.group = dist.new_group(backend="gloo")

    def begin(self, place: Path) -> None:
        self.waiting = dcp.async_save(self.state, checkpoint_id=place, process_group=self.group)


def main() -> None:
    dist.init_process_group("gloo")
    made = model()
    state = {"model": made.state_dict()}

    def stock(place: Path) -> None:
        dcp.save(state, storage_writer=FileSystemWriter(place, sync_files=True))

    def ours(place: Path) -> None:
        save(state, str(place), format="dcp")

    rounds = [(timed("ours", ours), timed("stock", stock)) for _ in range(ROUNDS + 1)][1:]
    found = {"save": median(one for one, _ in rounds), "dcp.save": median(other for _, other in rounds)}
    blocked, stock_blocked, begun = [], [], Begun(state)
    with Checkpointer(str(FOLDER / "run"), model=made, format="dcp", background=True, keep=1, finite="ignore") as one:
        for step in range(ROUNDS + 1):
            blocked.append(timed("none", lambda _, step=step: one.save(step)))
            one.wait()
            stock_blocked.append(timed("async", begun.begin))
            begun.waiting.result()
            dist.barrier()
    found |= {"blocked": median(blocked[1:]), "dcp.async_save blocked": median(stock_blocked[1:])}
    if dist.get_rank() == 0:
        print(json.dumps({**found, "rounds": rounds}), flush=True)
    dist.destroy_process_group()


main()
