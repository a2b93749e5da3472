"""Run by torchrun for `live_load`: save on all ranks, or load into sharded parameters, and say what each rank took."""

import ctypes
import json
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

import ckpt_core

ROWS, COLUMNS = 3072, 1024


def model_of(layers: int) -> nn.Module:
    """A module of `layers` times 12 MiB, in rows over all ranks, its memory touched."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    rows = ROWS // dist.get_world_size()
    model = nn.Module()
    made = [DTensor.from_local(torch.zeros(rows, COLUMNS), mesh, [Shard(0)], run_check=False) for _ in range(layers)]
    model.layers = nn.ParameterList([nn.Parameter(one) for one in made])
    return model


def bytes_read() -> int:
    """Bytes that this process has asked files for."""
    return _field("/proc/self/io", "rchar")


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    return _field("/proc/self/status", "RssAnon") * 1024


def _field(path: str, name: str) -> int:
    with open(path) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


def watched(work: object) -> dict[str, float]:
    """Seconds, bytes read, and the peak of anonymous memory above the start, of a piece of work."""
    peak, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before, base = bytes_read(), anonymous()
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    dist.barrier()
    start = time.perf_counter()
    work()  # type: ignore[operator]
    dist.barrier()
    seconds = time.perf_counter() - start
    ended.set()
    thread.join()
    return {"seconds": seconds, "bytes": bytes_read() - before, "peak": max(peak[0] - base, 0)}


def main(job: str, place: str, layers: int, rounds: int, out: str) -> None:
    """Save; or load by each method, round after round, and write the figures of every rank."""
    dist.init_process_group("gloo")
    model = model_of(layers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.to_local().normal_()
    if job == "save":
        dcp.save({"model": model.state_dict()}, checkpoint_id=place)
    else:
        every: list[object] = [None] * dist.get_world_size()
        dist.all_gather_object(every, _timed(model, place, job, rounds))
        if dist.get_rank() == 0:
            Path(out).write_text(json.dumps(every))
    dist.destroy_process_group()


def _timed(model: nn.Module, place: str, job: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Figures of each method and round. What both import is imported before the clock starts, as in every benchmark."""
    ckpt_core.load_into(model, place, component="model", dry_run=True)
    share = sum(one.to_local().numel() * 4 for one in model.parameters())  # type: ignore[attr-defined]
    state = {"model": model.state_dict()}
    methods = {"ours": lambda: ckpt_core.load_into(model, place, component="model")}
    if job == "both":
        methods["dcp.load"] = lambda: dcp.load(state, checkpoint_id=place)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, work in methods.items():
            found[name].append({**watched(work), "share": share})
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
