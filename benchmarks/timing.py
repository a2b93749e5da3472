"""How every benchmark measures: each method in a process of its own, methods interleaved, the least of several rounds.

Memory is primed first: on a virtual machine the first touch of a page after the host took it back costs ten times a
later one, and the benchmark would measure the hypervisor. It is primed in huge pages, since those that were freed as
small ones are not what a huge page is made of.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

ROUNDS = int(os.environ.get("CKPT_BENCH_ROUNDS", "5"))

PRIME = """
import mmap
def prime(nbytes):
    region = mmap.mmap(-1, nbytes)
    region.madvise(mmap.MADV_HUGEPAGE)
    for at in range(0, nbytes, 4096):
        region[at] = 1
    region.close()
"""

_PRELUDE = f"""
{PRIME}
import os, sys, time
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
def touch(tensors):
    import torch
    for tensor in tensors:
        flat = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else tensor
        flat[::4096].sum()
"""


@dataclass(frozen=True, slots=True)
class Result:
    """Least seconds of all rounds, and the growth of anonymous memory in that round in bytes."""

    seconds: float
    anonymous: int


def measure(setup: str, methods: Mapping[str, str], *, prime: int = 0, rounds: int = ROUNDS) -> dict[str, Result]:
    """Time each method's code after `setup`; a method may define `check()` that raises where its result is wrong.

    Args:
        setup: Python run before the clock starts, in each process.
        methods: Python to time, by name.
        prime: Bytes of memory to touch and free first.
        rounds: Rounds, interleaved.
    """
    best: dict[str, Result] = {}
    for _ in range(rounds):
        for name, code in methods.items():
            result = _run(setup, code, prime)
            if name not in best or result.seconds < best[name].seconds:
                best[name] = result
    return best


def _run(setup: str, code: str, prime: int) -> Result:
    script = (
        f"{_PRELUDE}\n{setup}\nprime({prime}) if {prime} else None\n"
        f"_before, _start = anonymous(), time.perf_counter()\n{code}\n"
        "_seconds, _after = time.perf_counter() - _start, anonymous()\n"
        "if 'check' in globals(): check()\n"
        "print(_seconds, _after - _before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a method failed:\n{code}\n{done.stderr}")
    seconds, grown = done.stdout.split()[-2:]
    return Result(float(seconds), int(grown))


def command(argv: list[str], *, rounds: int = 15) -> float:
    """Least seconds a command takes, its output piped away; Python runs from bytecode, as it does when installed."""
    import time

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(argv, capture_output=True, check=True, env=environment)
        best = min(best, time.perf_counter() - start)
    return best


def drop_cache(path: str) -> None:
    """Write a file back and drop it from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def report(job: str, ours: float, peers: Mapping[str, float], goals: Mapping[str, float], **extra: object) -> None:
    """One JSON line: our ratio to each peer, its goal, and whether it is met."""
    rows = {
        peer: {"ratio": round(ours / seconds, 3), "goal": goals.get(peer), "met": _met(ours / seconds, goals.get(peer))}
        for peer, seconds in peers.items()
    }
    print(json.dumps({"job": job, "seconds": round(ours, 5), "peers": rows, **extra}), flush=True)


def _met(ratio: float, goal: float | None) -> bool | None:
    return None if goal is None else ratio <= goal
