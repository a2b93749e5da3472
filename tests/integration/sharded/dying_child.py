"""Saves by four ranks that are forked anew for each: `FOLDER WHO POINTS`; a finding of each save as a line of JSON.

Without torchrun, whose agent would end all ranks with the first: this process has the store where they meet, as the
agent does. Each time step 1 is saved over what is there, then step 2, in which rank WHO is killed at one of its calls
of the system or of the store, at so many of them; with POINTS 0 it stops (SIGSTOP) at its third.
"""

import json
import os
import signal
import sys
import time

import torch
from torch.distributed import PrefixStore, TCPStore

from ckpt_core import CkptError, save, torchrun_ranks
from ckpt_core.layouts.in_memory import checkpoint_of_parts

FOLDER, WHO, POINTS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
RANKS = 4
SILENT = "8"
"""Seconds after which a rank counts as gone: a busy machine may make one wait for some."""


class Trap:
    """Counts calls, and ends this process at one of them."""

    def __init__(self, when, number):
        self.when, self.number, self.calls, self.armed = when, number, 0, False
        for name in ("pwrite", "fsync", "rename", "open"):
            setattr(os, name, self.counted(getattr(os, name)))
        PrefixStore.set = self.counted(PrefixStore.set)

    def counted(self, work):
        def call(*arguments, **options):
            self.calls += self.armed
            if self.armed and self.calls == self.when:
                os.kill(os.getpid(), self.number)
            return work(*arguments, **options)

        return call


def state(rank, step):
    own = {f"rng:rank-{rank}": {"own": torch.full((1 << 18,), float(step + rank))}}
    return checkpoint_of_parts({"model": {"w": torch.full((1000,), float(step))}, "progress": {"step": step}, **own})


def save_twice(rank, trap):
    with torchrun_ranks() as ranks:
        save(state(rank, 1), f"{FOLDER}/checkpoint-1", format="dcp", force=True, ranks=ranks)
    os.environ["CKPT_RANK_TIMEOUT"] = SILENT
    trap.armed, said, began = True, "", time.monotonic()
    try:
        with torchrun_ranks() as ranks:
            save(state(rank, 2), f"{FOLDER}/checkpoint-2", format="dcp", force=True, ranks=ranks)
    except CkptError as error:
        said = error.message
    return [said, trap.calls, time.monotonic() - began]


def forked(work):
    """The process of some work, and a file that its result is read from; nothing in it where it did not come so far."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        with open(writing, "w") as file:
            work(file)
        os._exit(0)
    os.close(writing)
    return process, open(reading)


def has_store(file):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    print(store.port, file=file, flush=True)
    time.sleep(600)


def saved(when, number):
    """What each rank finds, None of the one that is gone."""
    host, told = forked(has_store)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=told.readline().strip(), WORLD_SIZE=str(RANKS))
    os.environ.update(TORCHELASTIC_RUN_ID="test", TORCHELASTIC_USE_AGENT_STORE="True")

    def as_rank(rank):
        def work(file):
            os.environ["RANK"] = str(rank)
            print(json.dumps(save_twice(rank, Trap(when if rank == WHO else 0, number))), file=file)

        return work

    ranks = [forked(as_rank(rank)) for rank in range(RANKS)]
    said = ["" if rank == WHO and number == signal.SIGSTOP else file.read() for rank, (_, file) in enumerate(ranks)]
    for process in (host, *(process for process, _ in ranks)):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return [json.loads(text) if text else None for text in said]


def main():
    first = saved(0, signal.SIGKILL)
    print(json.dumps(first), flush=True)
    if not POINTS:
        os.rename(f"{FOLDER}/checkpoint-2", f"{FOLDER}/first")
        print(json.dumps(saved(3, signal.SIGSTOP)), flush=True)
        return
    for number in range(POINTS):
        os.rename(f"{FOLDER}/checkpoint-2", f"{FOLDER}/kept-{number}") if os.path.exists(
            f"{FOLDER}/checkpoint-2"
        ) else None
        found = saved(1 + number * first[WHO][1] // POINTS, signal.SIGKILL)
        print(json.dumps([found, os.path.exists(f"{FOLDER}/checkpoint-2")]), flush=True)
    print(json.dumps(saved(0, signal.SIGKILL)), flush=True)


if __name__ == "__main__":
    main()
