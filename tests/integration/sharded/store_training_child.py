"""Run under torchrun, `OUT URL`: small sharded trainings whose checkpoints are in a store, or are uploaded to one.

Each rank notes what it found in `OUT/rank-N.json`, by the name of the case.
"""

import json
import os
import shutil
import sys

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

import ckpt_core
from ckpt_core.training import Checkpointer, Keep


class Training:
    """A model whose weights are the step."""

    def __init__(self, run, **options):
        self.model = fully_shard(torch.nn.Linear(33, 17))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.checkpointer = Checkpointer(run, model=self.model, optimizer=self.optimizer, format="dcp", **options)
        self.to(-1)

    def to(self, step):
        with torch.no_grad():
            for tensor in self.model.parameters():
                tensor.fill_(step)

    def save(self, *steps):
        for step in steps:
            self.to(step)
            self.checkpointer.save(step, metrics={"loss": float(step)})

    def step(self):
        values = {value for tensor in self.model.parameters() for value in tensor.to_local().flatten().tolist()}
        assert len(values) == 1, values
        return values.pop()


def resumed(run, policy="required", **options):
    """The step that fresh objects go on from, and their weights."""
    one = Training(run, **options)
    with one.checkpointer:
        return [one.checkpointer.resume(policy).step, one.step()]


def in_a_store(out, url):
    """Saved at once and in the background, the oldest removed; then gone on with."""
    for name, background in (("plain", False), ("background", True)):
        one = Training(f"{url}/{name}", keep=Keep(last=2), background=background)
        with one.checkpointer:
            one.save(1, 2, 3)
        assert resumed(f"{url}/{name}") == [3, 3.0]
    return resumed(f"{url}/plain", 2)


def not_replaced(out, url):
    """What somebody else has put where a checkpoint goes stays, and every rank is told."""
    one = Training(f"{url}/others")
    with one.checkpointer:
        one.save(1)
        if dist.get_rank() == 0:
            ckpt_core.save({"theirs": torch.ones(3)}, f"{url}/others/checkpoint-2", format="dcp")
        dist.barrier()
        try:
            one.save(2)
        except ckpt_core.OverwriteError as error:
            return error.message
    return ""


def uploaded(out, url):
    """Saved on the disk and uploaded by rank 0; gone on with from the store, the disk being new."""
    one = Training(f"{out}/local", upload_to=f"{url}/uploaded")
    with one.checkpointer:
        one.save(1, 2)
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(f"{out}/local")
    dist.barrier()
    return resumed(f"{out}/local", upload_to=f"{url}/uploaded")


def main(out, url):
    dist.init_process_group("gloo")
    found = {case.__name__: case(out, url) for case in (in_a_store, not_replaced, uploaded)}
    with open(os.path.join(out, f"rank-{dist.get_rank()}.json"), "w") as file:
        json.dump(found, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
