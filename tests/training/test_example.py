"""The example trains, and trains on after a kill as if there had been none."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "training" / "train.py"
STEADY = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE", "PYTHONUNBUFFERED": "1"}


def train(run, steps, *more):
    command = [sys.executable, EXAMPLE, "--run", run, "--steps", str(steps), "--save-every", "4", *more]
    return subprocess.run(command, capture_output=True, text=True, env=STEADY)


def losses(text):
    return dict(re.findall(r"step (\d+) loss (\S+)", text))


def start(run, steps, *more):
    command = [sys.executable, EXAMPLE, "--run", run, "--steps", str(steps), "--save-every", "4", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=STEADY)


def read_until(process, text):
    seen = ""
    while text not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    return seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The losses of a run that nobody stopped."""
    found = losses(train(tmp_path_factory.mktemp("whole"), 16).stdout)
    assert len(found) == 16 and float(found["16"]) < float(found["1"])
    return found


def test_a_run_that_was_killed_ends_as_one_that_was_not(whole, tmp_path):
    with start(tmp_path / "run", 16, "--workers", "1") as first:
        seen = read_until(first, "step 9")
        first.send_signal(signal.SIGKILL)
        seen += first.stdout.read()
    second = train(tmp_path / "run", 16)
    assert second.returncode == 0, second.stderr
    assert re.search(r"checkpoint-8: step 8, epoch \d; restored", second.stdout)
    for found in (losses(seen), losses(second.stdout)):
        assert found.items() <= whole.items()
    assert set(losses(seen)) | set(losses(second.stdout)) == set(whole)


SIGNALS = [(signal.SIGTERM, 143), pytest.param(signal.SIGUSR1, 138, marks=pytest.mark.long)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_the_step_saves_and_is_the_exit_code(whole, tmp_path, number, code):
    with start(tmp_path / "run", 16) as first:
        seen = read_until(first, "step 5")
        first.send_signal(number)
        seen += first.stdout.read()
    assert first.returncode == code
    last = max(map(int, losses(seen)))
    assert (tmp_path / "run" / f"checkpoint-{last}").is_dir()
    second = train(tmp_path / "run", 16)
    assert losses(seen).items() | losses(second.stdout).items() == whole.items()
    assert not losses(seen).keys() & losses(second.stdout).keys(), "a step was done twice"


@pytest.mark.long
def test_a_run_that_is_over_and_another_rate_end_with_one_line_that_says_so(tmp_path):
    assert train(tmp_path / "run", 4).returncode == 0
    over, other = train(tmp_path / "run", 4), train(tmp_path / "run", 8, "--lr", "0.001")
    assert over.returncode and "nothing would run" in over.stderr
    assert other.returncode and "say which counts" in other.stderr
    assert losses(over.stdout) == losses(other.stdout) == {}
    assert losses(train(tmp_path / "run", 8, "--lr", "0.001", "--lr-from", "argument").stdout).keys() == set("5678")
