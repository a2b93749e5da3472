"""What planning takes by the number of ranks and tensors: of a save, of a load, and of torch's own save planner.

Every rank plans in a process of its own (`plan_scale_child`), and the others are what they tell; no tensor has bytes.
Seconds are the processor's. What has more boxes (ranks times tensors) than `CKPT_BENCH_BOXES` is left out, and is what the
fit says; `CKPT_BENCH_RANKS` and `CKPT_BENCH_TENSORS` choose other sizes.

    python -m benchmarks.plan_scale
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RANKS = [int(text) for text in os.environ.get("CKPT_BENCH_RANKS", "1,4,16,64").split(",")]
TENSORS = [int(text) for text in os.environ.get("CKPT_BENCH_TENSORS", "1000,10000,100000").split(",")]
BOXES = int(os.environ.get("CKPT_BENCH_BOXES", "650000"))
"""Greatest number of boxes that one process lists; each takes a kilobyte and a half."""

FITTED = ((64, 100_000), (1024, 100_000))
_PLAIN = ("questions", "requests", "files")


def main() -> None:
    """Measure every size and fit what was measured; one JSON line each."""
    rows = []
    for row in _measured():
        rows.append(row)
        print(json.dumps(row), flush=True)
    for job in dict.fromkeys((row["job"], row["who"]) for row in rows):
        some = [row for row in rows if (row["job"], row["who"]) == job]
        for ranks, tensors in FITTED:
            print(json.dumps(_fitted(some, ranks, tensors)), flush=True)


def _measured() -> Iterator[dict[str, Any]]:
    for tensors in TENSORS:
        for ranks in RANKS:
            small = ranks * tensors <= BOXES
            for job in ("save", "torch"):
                yield from (_run(job, rank, ranks, tensors) for rank in _of(ranks, first=small))
            if small:
                with tempfile.TemporaryDirectory() as folder:
                    place = Path(folder) / "step-7"
                    make = [sys.executable, "-m", "benchmarks.dcp_directory", str(place), str(ranks), str(tensors)]
                    subprocess.run(make, check=True)
                    yield _run("load", ranks - 1, ranks, tensors, str(place))


def _of(ranks: int, *, first: bool) -> list[int]:
    """The ranks that are measured: rank 0, which has all boxes to list, and one of the others."""
    return [*([0] if first else []), *([ranks - 1] if ranks > 1 else [])]


def _run(job: str, rank: int, ranks: int, tensors: int, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan_scale_child", job, str(rank), str(ranks), str(tensors), *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    who = "every rank" if job == "load" else "rank 0" if rank == 0 else "another rank"
    return {"job": job, "who": who, "ranks": ranks, "tensors": tensors, **json.loads(done.stdout)}


def _fitted(rows: Sequence[Mapping[str, Any]], ranks: int, tensors: int) -> dict[str, Any]:
    """What a size would take by what was measured: so much for a tensor, and so much for each of its boxes.

    Least squares of the relative error, without negative terms.
    """
    import numpy as np

    found: dict[str, Any] = {"fitted": rows[0]["job"], "who": rows[0]["who"], "ranks": ranks, "tensors": tensors}
    sizes = np.array([[row["tensors"], row["tensors"] * row["ranks"]] for row in rows], "f8")
    for key in rows[0]:
        values = [row.get(key) for row in rows]
        if key in ("ranks", "tensors", *_PLAIN) or not all(isinstance(value, int | float) for value in values):
            continue
        weights = 1 / np.maximum(np.array(values, "f8"), 1e-2 if isinstance(values[0], float) else 1)
        best, *_ = np.linalg.lstsq(sizes * weights[:, None], np.array(values, "f8") * weights, rcond=None)
        if min(best) < 0:  # one of the two tells nothing here
            column = int(best.argmax())
            alone = sizes[:, column : column + 1] * weights[:, None]
            one, *_ = np.linalg.lstsq(alone, np.array(values, "f8") * weights, rcond=None)
            best = np.array([one[0] if number == column else 0.0 for number in range(2)])
        value = float(np.array([tensors, tensors * ranks]) @ best)
        found[key] = round(value, 1) if isinstance(values[0], float) else int(value)
    return found


if __name__ == "__main__":
    main()
