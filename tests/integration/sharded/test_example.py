"""`examples/fsdp_ema`: trained by four ranks, stopped by a signal, gone on with by two, made a model directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.load import load
from ckpt_core.verbs.verify import verify

EXAMPLE = Path(__file__).parents[3] / "examples" / "fsdp_ema" / "train.py"


def started(ranks, run, steps):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks), "--standalone"]
    return subprocess.Popen(
        [*command, str(EXAMPLE), str(run), "--steps", str(steps), "--save-every", "8"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
def test_the_example_goes_on_with_fewer_ranks_and_becomes_a_model_directory(tmp_path):
    run = tmp_path / "run"
    first = started(4, run, 2000)
    for line in first.stdout:
        if line.startswith("step 10:"):
            break
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)
    (stopped,) = sorted(int(path.name.partition("-")[2]) for path in run.glob("checkpoint-*"))[-1:]
    assert stopped > 10 and stopped % 8 and verify(str(run / f"checkpoint-{stopped}"), depth="bytes").report.ok

    steps = stopped + 5
    second = started(2, run, steps)
    out, err = second.communicate(timeout=200)
    assert second.returncode == 0 and "Warning" not in err, err
    assert f"2 ranks begin behind step {stopped}" in out

    convert(str(run / f"checkpoint-{steps}"), str(tmp_path / "ema"), to="hf", components="ema")
    assert verify(str(tmp_path / "ema"), depth="values").report.ok
    whole, model = load(str(run / f"checkpoint-{steps}")), load(str(tmp_path / "ema"))
    for name in whole.component("ema").tensors:
        assert bytes(model.read("ema", name)) == bytes(whole.read("ema", name)), name
