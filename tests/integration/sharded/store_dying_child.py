"""`dying_child.py` at a store: `URL WHO POINTS`; rank WHO is killed before or behind one of its puts, so many times.

Each time in a folder of its own, `URL/N`; a line of JSON for each is what the ranks found.
"""

import json
import signal
import sys

import dying_child as dying
import torch
from torch.distributed import PrefixStore

from ckpt_core.layouts.in_memory import checkpoint_of_parts
from ckpt_core.storage.objects import settling
from ckpt_core.storage.objects.s3_store import S3Store

URL, WHO, POINTS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class StoreTrap(dying.Trap):
    """Counts what is put into a store or said to other ranks, before and behind each."""

    def __init__(self, when, number):
        self.when, self.number, self.calls, self.armed = when, number, 0, False
        for name in ("put", "begin_upload", "put_part", "complete", "delete", "delete_version"):
            setattr(S3Store, name, self.counted(getattr(S3Store, name)))
        PrefixStore.set = self.counted(PrefixStore.set)

    def counted(self, work):
        ending = super().counted(lambda: None)

        def call(*arguments, **options):
            ending()
            done = work(*arguments, **options)
            ending()
            return done

        return call


def state(rank, step):
    """A file of two parts, the least that S3 takes, from each rank."""
    own = {f"rng:rank-{rank}": {"own": torch.full((5 << 18,), float(step + rank))}}
    return checkpoint_of_parts({"model": {"w": torch.full((1000,), float(step))}, "progress": {"step": step}, **own})


def main():
    dying.Trap, dying.state, settling._PART = StoreTrap, state, 5 << 20
    dying.FOLDER = f"{URL}/whole"
    first = dying.saved(0, signal.SIGKILL)
    print(json.dumps(first), flush=True)
    for number in range(POINTS):
        dying.FOLDER = f"{URL}/{number}"
        when = 1 + number * first[WHO][1] // POINTS
        print(json.dumps(dying.saved(when, signal.SIGKILL)), flush=True)
    print(json.dumps(dying.saved(0, signal.SIGKILL)), flush=True)


if __name__ == "__main__":
    main()
