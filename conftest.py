"""Settings for every test of the repository, and the servers and made checkpoints that they share."""

import fcntl
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

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


def run_steadily(command: Sequence[str], *, timeout: float) -> str:
    """Run a script that makes checkpoints; its output. A MakerError with it where the script fails."""
    environment = {**os.environ, **STEADY}
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        shown = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        raise MakerError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{shown}")
    return done.stdout


@pytest.fixture(scope="session")
def run_maker_script() -> Callable[..., str]:
    """`run_maker_script(command, timeout=…)`: see `run_steadily`."""
    return run_steadily


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


@dataclass(frozen=True, slots=True)
class S3:
    """A folder of this test's own in a bucket of a real S3 server.

    Attributes:
        url: `s3://bucket/folder`.
        env: What a process needs to reach it.
    """

    url: str
    env: dict[str, str]

    @property
    def filesystem(self) -> Any:
        """A client of its own, which has noted nothing."""
        import s3fs

        return s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)

    def put(self, name: str, data: bytes) -> str:
        """Store an object; its URL."""
        self.filesystem.pipe_file(f"{self.url}/{name}", data)
        return f"{self.url}/{name}"


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process needs to reach the S3 server of this run, which is started when it is first asked for."""
    root = Path(__file__).parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    from tests.servers.seaweedfs import shared

    base = tmp_path_factory.getbasetemp()
    worker = "PYTEST_XDIST_WORKER" in os.environ
    return shared((base.parent if worker else base) / "seaweedfs", os.getppid() if worker else os.getpid())


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A folder on a real S3 server, and the environment of this process set to reach it."""
    import s3fs

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield S3(f"s3://ckpt/{uuid.uuid4().hex}", s3_environment)
    s3fs.S3FileSystem.clear_instance_cache()
