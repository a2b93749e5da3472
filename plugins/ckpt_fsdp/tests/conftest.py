"""Checkpoints that the tools themselves write: each made once a run by a script of makers/, for all workers."""

import fcntl
import hashlib
import importlib.util
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
            failed = shared / f"{name}.failed"
            if failed.exists():  # what failed once is not waited for again by each test that needs it
                pytest.fail(failed.read_text())
            if not (shared / f"{name}.done").exists():
                shutil.rmtree(shared / name, ignore_errors=True)
                _make(shared / name, failed, script, ranks, *arguments)
                (shared / f"{name}.done").touch()
        return shared / name

    return make


def _make(folder, failed, script, ranks, *arguments):
    folder.mkdir()
    try:
        run_ranks(script, ranks, folder, *arguments)
    except BaseException as error:  # a test's time limit is one too
        failed.write_text(str(error))
        raise


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a made checkpoint, to be broken."""

    def copy(folder, name="copy"):
        return Path(shutil.copytree(folder, tmp_path / name))

    return copy


@pytest.fixture
def torchrun():
    """`torchrun(script, ranks, *arguments)`: run a script of makers/ on something that a test has made."""
    return run_ranks


@pytest.fixture(scope="session")
def tiny_bagel():
    """The module makers/tiny_bagel.py, which the scripts beside it import too."""
    spec = importlib.util.spec_from_file_location("tiny_bagel", MAKERS / "tiny_bagel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def base_model(tiny_bagel, tmp_path):
    """A tiny base model as BAGEL publishes its own, and the digests of its files, which no test may change."""
    folder = tiny_bagel.publish(tmp_path / "base")
    before = digests(folder)
    yield folder
    assert digests(folder) == before


def digests(folder):
    """sha256 of every file below a folder, by its path."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
