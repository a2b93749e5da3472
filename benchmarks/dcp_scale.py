"""Distributed checkpoints of 1 to 64 ranks and 20,000 tensors: what each command takes, and what torch does to read on.

Each command is a process of its own, whose seconds and greatest resident memory are measured. Torch only reads the
metadata (`FileSystemReader.read_metadata`); importing it is counted apart. `CKPT_BENCH_RANKS` and `CKPT_BENCH_TENSORS`
choose other sizes.

    python -m benchmarks.dcp_scale
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RANKS = [int(text) for text in os.environ.get("CKPT_BENCH_RANKS", "1,4,16,64").split(",")]
TENSORS = int(os.environ.get("CKPT_BENCH_TENSORS", "20000"))
GOAL_SECONDS, GOAL_BYTES = 60, 2 << 30

_TORCH = """
import sys, time
from torch.distributed.checkpoint import FileSystemReader
start = time.perf_counter()
FileSystemReader(sys.argv[1]).read_metadata()
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure every number of ranks; one JSON line for each command."""
    for ranks in RANKS:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "step-7"
            make = [sys.executable, "-m", "benchmarks.dcp_directory", str(place), str(ranks), str(TENSORS)]
            subprocess.run(make, check=True)
            _measure(place, ranks)


def _measure(place: Path, ranks: int) -> None:
    ckpt = str(Path(sys.executable).with_name("ckpt"))
    convert = [ckpt, "convert", str(place), "--component", "model", "--dry-run"]
    jobs = {
        "inspect": [ckpt, "inspect", str(place)],
        "verify": [ckpt, "verify", str(place)],
        "plan hf": [*convert, str(place.with_name("out")), "--to", "hf"],
        "plan safetensors": [*convert, str(place.with_name("out.safetensors")), "--to", "safetensors"],
        "torch read_metadata": [sys.executable, "-c", _TORCH, str(place)],
    }
    metadata = (place / ".metadata").stat().st_size
    for job, argv in jobs.items():
        seconds, processor, memory, said = _run(argv)
        row = {"job": job, "ranks": ranks, "chunks": ranks * TENSORS, "metadata_bytes": metadata}
        row |= {"seconds": round(seconds, 2), "processor_seconds": round(processor, 2), "peak_bytes": memory}
        if job.startswith("torch"):
            row["without_import"] = round(float(said), 2)
        else:
            row["met"] = seconds <= GOAL_SECONDS and memory <= GOAL_BYTES
        print(json.dumps(row), flush=True)


def _run(argv: list[str]) -> tuple[float, float, int, str]:
    """Seconds, those of the processor, greatest resident bytes and output of a command."""
    start = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(argv)}\n{process.stderr.read()}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, _bytes(usage), said


def _bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
