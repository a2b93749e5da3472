"""What a run came to, noted by rank 0 as JSON: so that a resumed run is compared with one that was never stopped."""

import hashlib
import json
import os
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

_PATIENCE = timedelta(seconds=60)
"""For the slowest rank of a busy machine."""

_LAST = timedelta(seconds=5)
"""For the last attempt, which may fail on one rank alone: nothing comes after it that a late rank would miss."""


def digest_of(tensors):
    """sha256 of named tensors, gathered where they are sharded: equal for equal bits."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        found.update(name.encode() + str(tuple(whole.shape)).encode())
        found.update(whole.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def described(error):
    """One line for an error; of one that torch gathered of all ranks, the first rank's own."""
    if isinstance(error, CheckpointException):
        error, _ = next(iter(error.failures.values()))
    return f"{type(error).__name__}: {error}"[:400]


class Notes:
    """The outcomes of several attempts, by name; written after each, for one may end the process."""

    def __init__(self, path):
        self.path, self.found = Path(path), {}

    def attempt_each(self, attempts, run):
        """Attempt `run(kind, checkpoint)` of each `KIND=CHECKPOINT`, by the checkpoint's name, and end the process."""
        for attempt in attempts:
            kind, checkpoint = attempt.split("=", 1)
            again = partial(run, kind, checkpoint)
            self.attempt(Path(checkpoint).name, again, last=attempt is attempts[-1])
        self.close()

    def attempt(self, name, run, *, last=False):
        """Note what `run` gives, or how it fails.

        A tool may fail on one rank while the others wait for it: then the process ends, and with it their waiting, so
        that such an attempt must be the last.
        """
        try:
            self.found[name] = run()
        except (Exception, CheckpointException) as error:
            self.found[name] = {"failed": described(error)}
        self._write()
        if not self._all_are_here(name, _LAST if last else _PATIENCE):
            self.found["ended early"] = f"after {name!r}: a rank was not done with it {_PATIENCE.seconds} s later"
            self._write()
            os._exit(0)

    def close(self):
        """End the process: at once, for the group may have lost a rank."""
        self._all_are_here("the end", _LAST)
        os._exit(0)

    def _write(self):
        if dist.get_rank() == 0:
            self.path.write_text(json.dumps(self.found, indent=1))

    def _all_are_here(self, name, patience):
        store = dist.distributed_c10d._get_default_store()
        store.set(f"{name}/{dist.get_rank()}", "here")
        try:
            store.wait([f"{name}/{rank}" for rank in range(dist.get_world_size())], patience)
        except RuntimeError:
            return False
        return True
