"""Settings for every test of the repository, and the made checkpoints that they share."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
pytest_plugins = ["tests.servers.fixtures"]

from tests.servers.scripts import ForkedScripts  # noqa: E402

# A busy machine is no failure: the suite has a time limit a test, and no example is timed.
settings.register_profile("ckpt", deadline=None)
settings.load_profile("ckpt")


# Tests make damaged files and look at them at once; those of writers at work wait as users do.
os.environ.setdefault("CKPT_WRITER_WAIT", "1")

STEADY = {
    "CUDA_VISIBLE_DEVICES": "",
    "DS_ACCELERATOR": "cpu",
    "HF_HUB_OFFLINE": "1",
    "MKL_CBWR": "COMPATIBLE",  # else its kernels are chosen by how memory happens to be aligned
    "OMP_NUM_THREADS": "1",
}
"""The environment in which two processes that compute the same get the same, to the bit."""


class MakerError(AssertionError):
    """A script that makes checkpoints for tests, or resumes from them, failed."""


TORCHRUN = ["-m", "torch.distributed.run", "--nnodes", "1", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]


@pytest.fixture(scope="session")
def run_maker_script(pytestconfig: pytest.Config) -> Iterator[Callable[..., str]]:
    """`run_maker_script(script, *arguments, ranks=None, timeout=…)`: its output, a MakerError with it where it fails.

    Where the long tests are left out, the processes are forks of one that has imported what the script imports; else
    they are started as users start them, by torchrun where `ranks` is given.
    """
    forks = ForkedScripts(STEADY)

    def run(script: Path, *arguments: object, ranks: int | None = None, timeout: float = 240) -> str:
        if pytestconfig.option.markexpr == "not long":
            done = forks.run(script, arguments, ranks=ranks, timeout=timeout)
        else:
            done = _run_as_users_do(script, arguments, ranks, timeout)
        if done.returncode:
            shown = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            raise MakerError(f"{' '.join(map(str, done.args))} ended with exitcode: {done.returncode}:\n{shown}")
        return done.stdout

    yield run
    forks.end()


def _run_as_users_do(
    script: Path, arguments: Sequence[object], ranks: int | None, timeout: float
) -> "subprocess.CompletedProcess[str]":
    launcher = [] if ranks is None else [*TORCHRUN, "--nproc_per_node", str(ranks)]
    command = [sys.executable, *launcher, str(script), *map(str, arguments)]
    environment = {**os.environ, **STEADY}
    return subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)`: the folder that `make` filled, once for all workers of a run. Read only.

    A maker that fails is tried once more, since a busy machine kills processes; what fails twice is not waited for
    again by each test that needs it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "made"
    shared.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, failed, done = shared / name, shared / f"{name}.failed", shared / f"{name}.done"
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if failed.exists():
                pytest.fail(f"the maker of {name} failed twice; the last time: {failed.read_text()}")
            if not done.exists():
                try:
                    _filled(folder, make)
                except BaseException as error:  # a test's time limit is one too
                    failed.write_text(str(error))
                    raise
                done.touch()
        return folder

    return once


def _filled(folder: Path, make: Callable[[Path], object]) -> None:
    for last in (False, True):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            make(folder)
            return
        except (MakerError, subprocess.TimeoutExpired):
            if last:
                raise
