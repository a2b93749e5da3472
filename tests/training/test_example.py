"""The example trains, and trains on after a kill as if there had been none."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "training" / "train.py"
STEADY = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE", "PYTHONUNBUFFERED": "1"}


def train(run, steps, *more):
    command = [sys.executable, EXAMPLE, "--run", run, "--steps", str(steps), "--save-every", "4", *more]
    return subprocess.run(command, capture_output=True, text=True, env=STEADY)


def losses(text):
    return dict(re.findall(r"step (\d+) loss (\S+)", text))


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    whole = losses(train(tmp_path / "whole", 16).stdout)
    assert len(whole) == 16
    assert float(whole["16"]) < float(whole["1"])
    command = [sys.executable, EXAMPLE, "--run", tmp_path / "run", "--steps", "16", "--save-every", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=STEADY) as first:
        seen = ""
        while "step 9" not in seen:
            seen += first.stdout.readline()
        first.send_signal(signal.SIGKILL)
        seen += first.stdout.read()
    second = train(tmp_path / "run", 16, "--workers", "1")
    assert second.returncode == 0, second.stderr
    assert re.search(r"checkpoint-\d+: step \d+, epoch \d; restored", second.stdout)
    for found in (losses(seen), losses(second.stdout)):
        assert found.items() <= whole.items()
    assert set(losses(seen)) | set(losses(second.stdout)) == set(whole)


def test_a_run_that_is_over_and_another_rate_end_with_one_line_that_says_so(tmp_path):
    assert train(tmp_path / "run", 4).returncode == 0
    over, other = train(tmp_path / "run", 4), train(tmp_path / "run", 8, "--lr", "0.001")
    assert over.returncode and "nothing would run" in over.stderr
    assert other.returncode and "say which counts" in other.stderr
    assert losses(over.stdout) == losses(other.stdout) == {}
    assert losses(train(tmp_path / "run", 8, "--lr", "0.001", "--lr-from", "argument").stdout).keys() == set("5678")
