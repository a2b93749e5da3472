"""Run under torchrun: saves of a sharded model of about 1 GB, by ckpt and by DCP in turn; one line of JSON.

Of each call the seconds of the slowest rank, and the processor seconds of all of them.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
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


def timed(name: str, work: Callable[[Path], object]) -> tuple[float, float]:
    """Return the seconds of one call, the slowest rank's, and those of all processors; what it wrote is removed."""
    place = FOLDER / name
    if dist.get_rank() == 0:
        shutil.rmtree(place, ignore_errors=True)
    os.sync()
    dist.barrier()
    began, busy = perf_counter(), process_time()
    work(place)
    seconds, busy_for = torch.tensor(perf_counter() - began), torch.tensor(process_time() - busy)
    dist.all_reduce(seconds, dist.ReduceOp.MAX)
    dist.all_reduce(busy_for)
    return float(seconds), float(busy_for)


def compared(own: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> dict[str, Any]:
    """Return the medians of ours and theirs, and of their ratios pair by pair; the first pair is left out."""
    kept = pairs[1:]
    medians = [[median(pair[who][what] for pair in kept) for what in (0, 1)] for who in (0, 1)]
    ratios = [median(ours[what] / theirs[what] for ours, theirs in kept) for what in (0, 1)]
    return {own: {"ours": medians[0], "theirs": medians[1], "ratios": ratios}}


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

    found = compared("save", [(timed("ours", ours), timed("stock", stock)) for _ in range(ROUNDS + 1)])
    pairs, begun = [], Begun(state)
    with Checkpointer(str(FOLDER / "run"), model=made, format="dcp", background=True, keep=1, finite="ignore") as one:
        for step in range(ROUNDS + 1):
            own = timed("none", lambda _, step=step: one.save(step))
            one.wait()
            pairs.append((own, timed("async", begun.begin)))
            begun.waiting.result()
            dist.barrier()
    found |= compared("blocked", pairs)
    if dist.get_rank() == 0:
        print(json.dumps(found), flush=True)
    dist.destroy_process_group()


main()
