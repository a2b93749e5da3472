"""Builds cases, has child processes run operations on them, and tells whether anything in their folders changed."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.integration.bad_input import child
from tests.integration.bad_input.cases import Case, named

_PROCESSES = 2
_WORTH_A_PROCESS = 100
"""Jobs. To start one with torch takes as long as a hundred small ones."""

Results = dict[str, Any]


def build_all(cases: Sequence[Case], folder: Path) -> dict[str, Path]:
    """The path of each case, by its name, each in a folder of its own."""
    built = {}
    for index, case in enumerate(cases):
        place = folder / f"{index:03}_{named(case.name)}"
        place.mkdir()
        built[case.name] = case.build(place)
    return built


def run_all(
    jobs: Mapping[str, tuple[Path, Sequence[str]]], *, good: Sequence[Path], torch: bool = False
) -> dict[str, dict[str, Results]]:
    """What came of each operation, by job and operation.

    Args:
        jobs: Path and operations of each; see `child.OPERATIONS`.
        good: Whole files that the processes warm up with.
        torch: Whether the processes have imported torch before.
    """
    lines = [json.dumps({"name": name, "ref": str(path), "ops": list(ops)}) for name, (path, ops) in jobs.items()]
    first = json.dumps([str(path) for path in good])
    processes = min(_PROCESSES, 1 + len(lines) // _WORTH_A_PROCESS)
    shares = [[first, *lines[start::processes]] for start in range(processes)]
    found: dict[str, dict[str, Results]] = {}
    with ThreadPoolExecutor(processes) as pool:
        for output in pool.map(lambda share: _run_share(share, torch), shares):
            for line in output.splitlines():
                said = json.loads(line)
                found[said["name"]] = {result["op"]: result for result in said["results"]}
    return found


def _run_share(lines: Sequence[str], torch: bool) -> str:
    command = [sys.executable, child.__file__, *(["torch"] if torch else [])]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CKPT_WORKERS": "2"}
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder: kind, size, time of change, and the digest of what may be read."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent) / name
            info = path.lstat()
            known = (info.st_mode, info.st_size, info.st_mtime_ns)
            if stat.S_ISREG(info.st_mode) and info.st_size < 1 << 22 and os.access(path, os.R_OK):
                known += (hashlib.sha256(path.read_bytes()).hexdigest(),)
            found[str(path.relative_to(folder))] = known
    return found
