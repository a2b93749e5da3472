"""Conversions under torchrun: the same bytes whatever the number of processes, and one end for all of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save

CHILD = Path(__file__).with_name("torchrun_child.py")
LONG = [pytest.param(count, marks=pytest.mark.long) for count in (1, 3)]


def torchrun(processes, *program, environment=()):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--nnodes", "1"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", *map(str, program)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **dict(environment)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model in three shards, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("torchrun")
    draw = np.random.default_rng(0)
    weights = {f"layers.{n}.weight": draw.standard_normal((30, 50 + n)).astype("f4") for n in range(12)}
    save(weights, str(folder / "hf"), format="hf", options={"max_shard_size": "40KB"})
    convert(str(folder / "hf"), str(folder / "known"), **HOW)
    return folder


HOW = {"to": "dcp", "options": {"ranks": "2"}, "dtypes": ["bf16"]}
ARGUMENTS = ("--to", "dcp", "--ranks", "2", "--dtype", "bf16")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("processes", [2, *LONG])
def test_any_number_of_processes_write_the_same_bytes(processes, source, tmp_path):
    place = tmp_path / "out"
    arguments = ("convert", source / "hf", place, *ARGUMENTS)
    done = torchrun(processes, "-m", "ckpt_core.cli.main", *arguments, environment={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    assert done.returncode == 0, done.stderr
    assert contents(place) == contents(source / "known")
    assert done.stdout.count("read back and equal") == 1
    note = f"ckpt: note: CUDA_VISIBLE_DEVICES names 4 for {processes} processes; no GPU is used"
    assert done.stderr.count(note) == (processes > 1)


@pytest.mark.long
def test_the_command_itself_runs_under_torchrun(source, tmp_path):
    done = torchrun(2, "--no-python", "ckpt", "convert", source / "hf", tmp_path / "out", *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == contents(source / "known")


def test_an_error_of_one_process_ends_all_and_is_said_once(source, tmp_path):
    done = torchrun(2, CHILD, "fails", "4", "convert", source / "hf", tmp_path / "out", *ARGUMENTS)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("ckpt: error")]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("ckpt: error: rank 1: ")
    assert "cannot be written (input/output error); nothing was committed" in said[0]
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("after", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_killed_process_ends_all_and_a_rerun_of_any_number_goes_on(after, source, tmp_path):
    arguments = ("convert", source / "hf", tmp_path / "out", *ARGUMENTS)
    done = torchrun(2, CHILD, "killed", "6", *arguments)
    assert done.returncode != 0
    assert not (tmp_path / "out").exists()
    left = [path.name for path in tmp_path.rglob("journal*")]
    assert "journal-1" in left
    if after == 1:
        convert(*map(str, arguments[1:3]), **HOW)
    else:
        assert torchrun(after, CHILD, "well", "0", *arguments).returncode == 0
    assert contents(tmp_path / "out") == contents(source / "known")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
