"""Checkpoints that the tools themselves write: each made once a run by a script of makers/, for all workers."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKERS = Path(__file__).parent / "makers"


def run_ranks(script, ranks, *arguments, timeout=240):
    """Run a script of makers/ under torchrun with gloo; AssertionError with its output where it fails."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks), "--nnodes", "1"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", str(MAKERS / script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{script} on {ranks} ranks failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """`made(script, ranks, *arguments)`: the folder that a maker filled, `OUT` being its first argument. Read only."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "made"
    shared.mkdir(exist_ok=True)

    def make(script, ranks, *arguments):
        name = "-".join([Path(script).stem, str(ranks), *map(str, arguments)]).replace("/", "_")
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder = shared / name
            if not (shared / f"{name}.done").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                run_ranks(script, ranks, folder, *arguments)
                (shared / f"{name}.done").touch()
        return folder

    return make


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a made checkpoint, to be broken."""

    def copy(folder, name="copy"):
        return Path(shutil.copytree(folder, tmp_path / name))

    return copy
