"""Runs that other tools write, each by a script beside this file in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_script(name, *arguments):
    """Run a script of this folder; AssertionError with its output where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def script():
    return run_script
