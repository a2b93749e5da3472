"""Each file of tests whose loaders fork workers, in a process in which nothing else has run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.conftest import FORKING, OWN

HERE = Path(__file__).parent


def run(name, *words):
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    temporary = {key: os.environ[key] for key in ("PYTEST_DEBUG_TEMPROOT",) if key in os.environ}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *words, str(HERE / name)]
    root = HERE.parents[1]
    return subprocess.run(command, cwd=root, env={**plain, **temporary, OWN: "1"}, capture_output=True, text=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FORKING)
def test_what_forks_workers_passes(name):
    done = run(name, "-m", "not long")
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FORKING)
def test_all_that_forks_workers_passes(name):
    done = run(name, "-m", "long")
    assert done.returncode in (0, 5), done.stdout[-4000:]  # 5: none is long
