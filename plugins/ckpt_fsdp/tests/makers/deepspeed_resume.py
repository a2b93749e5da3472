"""DeepSpeed itself resumes checkpoints of deepspeed_save.py and trains a third step: `deepspeed_resume.py JOBS OUT`.

JOBS is a JSON list of `{"name", "case", "root", "tag", "seed", "one_rank"}`: where `tag` is null DeepSpeed goes by its
pointer, a root with `latest_universal` is loaded as universal, and `seed` is what the model is built with before it is
loaded. `OUT/NAME.json` says what load_checkpoint answered, or how it failed, on each rank; `OUT/NAME.pt` has what there
was after the step. A job that fails on one rank only (`OUT/NAME-RANK.json`) ends all processes, and must be the last.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import deepspeed
import no_compiler  # noqa: F401
import torch
import torch.distributed as dist
from deepspeed_save import CASES, THIRD, everything, start, train


def engine_for(job):
    config = dict(CASES[job["case"]])
    if (Path(job["root"]) / "latest_universal").exists():
        config["checkpoint"] = {"load_universal": True}
    return start(job["case"], config, seed=job["seed"])


def resume(job, engine, model):
    """What loading answered, and what there was after one more step."""
    path, client = engine.load_checkpoint(job["root"], tag=job["tag"])
    said = {"loaded": path is not None, "step": engine.global_steps, "epoch": (client or {}).get("epoch")}
    train(engine, model, 1, THIRD)
    return said, everything(engine, job["case"])


def run(job, out):
    engine, model = engine_for(job)
    try:
        said, state = resume(job, engine, model)
    except Exception as error:  # whatever DeepSpeed makes of it
        said, state = {"error": f"{type(error).__name__}: {error}"[:300]}, None
        if job["one_rank"]:
            (out / f"{job['name']}-{dist.get_rank()}.json").write_text(json.dumps(said))
            os._exit(0)  # the other ranks wait for this one, until they hear that it is gone
    every = [None] * dist.get_world_size()
    dist.all_gather_object(every, said)
    if dist.get_rank() == 0:
        (out / f"{job['name']}.json").write_text(json.dumps(every))
        torch.save(state, out / f"{job['name']}.pt")
    engine.destroy()


def main():
    jobs, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    out.mkdir(exist_ok=True)
    deepspeed.init_distributed("gloo", timeout=timedelta(seconds=60))
    for job in jobs:
        run(job, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
