"""The trainer of the guide runs as the guide writes it, and an interruption changes nothing of what it comes to."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "training"
STEADY = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
SMALL = ["--samples", "90", "--checkpoint-every-n-steps", "10"]

GUIDE = """
import torch
from training.config import create_default_config
from training.modular_trainer import ModularTrainer
from training.tiny_model import tiny_model

torch.set_num_threads(1)

def setup():
    model, tokenizer = tiny_model()
    config = create_default_config()
    config.training.num_epochs = 3
    config.training.checkpoint_every_n_steps = 10
    config.output_dir = "./output"
    return model, ModularTrainer(model, tokenizer, config, 90)

model, trainer = setup()
whole = trainer.train()
again, trainer = setup()
losses = trainer.train(resume_checkpoint="./output/checkpoint-20")
assert losses == whole, (losses, whole)
assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
print(f"step {trainer.step}, loss of each epoch {losses}")
"""


@pytest.fixture
def folder(tmp_path):
    """The example, where a person has it."""
    return shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))


def command(folder, *arguments):
    return [sys.executable, folder / "cli" / "complete_optimized_training.py", *arguments]


def train(folder, *arguments):
    return subprocess.run(command(folder, *arguments), cwd=folder, env=STEADY, capture_output=True, text=True)


def last_line(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_guides_calls_and_its_command_come_to_the_same_also_after_a_kill(folder):
    in_python = subprocess.run([sys.executable, "-c", GUIDE], cwd=folder, env=STEADY, capture_output=True, text=True)
    whole = last_line(in_python)
    assert re.search(r"sampler: position +epoch 1, sample 72 of 81 +restored", in_python.stdout)
    flags = ["--model-output", "./my_model", "--epochs", "3", "--batch-size", "8", *SMALL]
    with subprocess.Popen(command(folder, *flags), cwd=folder, env=STEADY, stderr=subprocess.PIPE, text=True) as first:
        seen = ""
        while "checkpoint-20:" not in seen:
            line = first.stderr.readline()
            assert line, seen
            seen += line
        first.send_signal(signal.SIGKILL)
    assert "🎲 Deterministic shuffle with seed=42" in seen
    second = train(folder, "--resume-from-checkpoint", "./my_model/checkpoint-20", *flags)
    assert last_line(second) == whole
    assert "✅ RNG states restored" in second.stderr


@pytest.mark.long
def test_the_commands_of_the_guide_run_as_written(folder):
    first = "--model-output ./my_model --epochs 3 --batch-size 8 --checkpoint-every-n-steps 1000"
    second = "--resume-from-checkpoint ./my_model/checkpoint-2000 --model-output ./my_model --epochs 3 --batch-size 8"
    assert last_line(train(folder, *first.split())) == last_line(train(folder, *second.split()))


@pytest.mark.long
def test_each_flag_does_what_it_says(folder):
    flags = ["--model-output", "./out", "--epochs", "1", *SMALL]
    assert last_line(train(folder, *flags)).startswith("step 11,")
    over = train(folder, *flags, "--resume")
    assert over.returncode and "nothing would run" in over.stderr and "Traceback" not in over.stderr
    more = ["--model-output", "./out", "--epochs", "2", *SMALL, "--resume"]
    other = train(folder, *more, "--learning-rate", "0.001")
    assert other.returncode and "--lr checkpoint or --lr argument" in other.stderr
    half = train(folder, *more, "--learning-rate", "0.001", "--lr", "argument", "--batch-size", "4")
    assert last_line(half).startswith("step 32,") and "sampler: batch_size" in half.stdout
    grouped = train(folder, "--model-output", "./b", "--epochs", "1", *SMALL, "--gradient-accumulation-steps", "2")
    assert last_line(grouped).startswith("step 6,")
    begun = train(folder, "--model-output", "./c", *SMALL, "--pretrained-model", "./out/checkpoint-32")
    assert "tensors matched (100.0%)" in begun.stdout and begun.returncode == 0
