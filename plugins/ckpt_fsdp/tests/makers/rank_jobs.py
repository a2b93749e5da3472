"""Scripts of several ranks that train and save (`OUT`), or go on from each job of a file (`OUT JOBS`)."""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from resumed_runs import described
from torch.distributed.checkpoint.api import CheckpointException


def gathered(value):
    """The value of each rank."""
    every = [None] * dist.get_world_size()
    dist.all_gather_object(every, value)
    return every


def main(train, load, go_on):
    """Run what the arguments ask for; rank 0 notes the outcomes in `OUT/whole.json` or `OUT/resumed.json`.

    Args:
        train: `train(out)` saves below a folder, and gives what its runs came to without a stop.
        load: `load(kind, folder)` gives a run that stands where the folder was saved. A rank may fail here.
        go_on: `go_on(run)` gives what the run comes to.
    """
    out, *jobs = map(Path, sys.argv[1:])
    dist.init_process_group("gloo")
    name, found = ("resumed", _resumed(json.loads(jobs[0].read_text()), load, go_on)) if jobs else ("whole", train(out))
    if dist.get_rank() == 0:
        (out / f"{name}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _resumed(jobs, load, go_on):
    """By the name of each job what its run came to, or `errors`: of each rank how it failed, None where it did not."""
    found = {}
    for job in jobs:
        run, error = None, None
        try:
            run = load(job["kind"], Path(job["folder"]))
        except (Exception, CheckpointException) as failed:  # whatever torch makes of it
            error = described(failed)
        errors = gathered(error)
        found[job["name"]] = {"errors": errors} if any(errors) else go_on(run)
    return found
