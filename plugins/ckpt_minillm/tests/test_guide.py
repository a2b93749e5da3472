"""What MiniLLM's guide tells people to type, typed: each command and each block of code, by which file it loads.

The trainers are those of examples/minillm, in models of one layer. A file is told by its norm, which all trainers leave
near the value that it was loaded with.
"""

import argparse
import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ckpt_minillm import CheckpointLoader
from minillm.model import Config, MiniLLM

EXAMPLE = Path(__file__).parents[3] / "examples" / "minillm"
REMOTE = "home/out"
"""Stands for `/openbayes/home/out`, in the test's own folder."""


@pytest.fixture(autouse=True)
def workspace(monkeypatch):
    """The folders that the guide's commands name, and models that train in a moment."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    Path("trainer").symlink_to(EXAMPLE)
    Path("data").symlink_to(EXAMPLE / "data" / "processed")
    monkeypatch.setenv("MODEL_NUM_LAYERS", "1")
    monkeypatch.setenv("MINILLM_REMOTE_DIR", REMOTE)
    yield
    torch.set_num_threads(threads)


def put(place, value):
    """Weights of hidden size 512 whose norm is `value`."""
    torch.manual_seed(0)
    tensors = MiniLLM(Config(512, 1)).state_dict()
    tensors["model.norm.weight"] = torch.full((512,), float(value))
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor.half() for name, tensor in tensors.items()}, place)


def norm(place):
    return round(torch.load(place, weights_only=True)["model.norm.weight"].float().mean().item())


def typed(line):
    """Run a command line in this process; the file that it started from."""
    python, script, *flags = shlex.split(line.replace("\\\n", " ").replace("/openbayes/home/out", REMOTE))
    assert python == "python"
    return importlib.import_module(Path(script).stem).main([*flags, "--max_steps", "1"])["source"]


def test_method_1_the_path_that_is_given():
    put(f"{REMOTE}/full_sft_512.pth", 2)
    put(f"{REMOTE}/pretrain_512.pth", 3)
    put("out/pretrain_512.pth", 4)
    source = typed(
        """python trainer/train_full_sft.py \
            --pretrained_path /openbayes/home/out/full_sft_512.pth \
            --data_path data/sft_mini_512.jsonl"""
    )
    assert (source, norm("out/full_sft_512.pth")) == (f"{REMOTE}/full_sft_512.pth", 2)
    source = typed(
        """python trainer/train_full_sft.py \
            --pretrained_path ./out/pretrain_512.pth \
            --data_path data/sft_mini_512.jsonl"""
    )
    assert (source, norm("out/full_sft_512.pth")) == ("./out/pretrain_512.pth", 4)


def test_method_2_and_example_2_the_remote_flag():
    put(f"{REMOTE}/pretrain_512.pth", 2)
    put("out/pretrain_512.pth", 3)
    for more in ("", "--epochs 1"):
        source = typed(
            f"""python trainer/train_full_sft.py \
                --load_from_remote \
                --hidden_size 512 \
                --data_path data/sft_mini_512.jsonl {more}"""
        )
        assert (source, norm("out/full_sft_512.pth")) == (f"{REMOTE}/pretrain_512.pth", 2)
    os.unlink(f"{REMOTE}/pretrain_512.pth")
    with pytest.raises(FileNotFoundError, match=f"{REMOTE}/pretrain_512"):
        typed("python trainer/train_full_sft.py --load_from_remote --hidden_size 512")


def test_method_3_the_variable(monkeypatch):
    put(f"{REMOTE}/full_sft_512.pth", 2)
    put(f"{REMOTE}/pretrain_512.pth", 3)
    monkeypatch.setenv("MINILLM_PRETRAINED_PATH", f"{REMOTE}/full_sft_512.pth")
    source = typed(
        """python trainer/train_full_sft.py \
            --data_path data/sft_mini_512.jsonl"""
    )
    assert (source, norm("out/full_sft_512.pth")) == (f"{REMOTE}/full_sft_512.pth", 2)


def test_method_4_what_is_found():
    put("out/pretrain_512.pth", 2)
    line = "python trainer/train_full_sft.py --data_path data/sft_mini_512.jsonl"
    assert (typed(line), norm("out/full_sft_512.pth")) == ("out/pretrain_512.pth", 2)
    put(f"{REMOTE}/pretrain_512.pth", 3)
    assert (typed(line), norm("out/full_sft_512.pth")) == (f"{REMOTE}/pretrain_512.pth", 3)


def test_example_1_pretraining_goes_on_from_a_file():
    put(f"{REMOTE}/pretrain_512.pth", 2)
    put("out/pretrain_512.pth", 3)
    source = typed(
        """python trainer/train_pretrain.py \
            --pretrained_path /openbayes/home/out/pretrain_512.pth \
            --data_path data/pretrain_hq.jsonl \
            --epochs 2"""
    )
    assert (source, norm("out/pretrain_512.pth")) == (f"{REMOTE}/pretrain_512.pth", 2)


def test_example_3_dpo_takes_the_variable(monkeypatch):
    put("elsewhere/full_sft_512.pth", 2)
    put(f"{REMOTE}/full_sft_512.pth", 3)
    monkeypatch.setenv("MINILLM_PRETRAINED_PATH", "elsewhere/full_sft_512.pth")
    source = typed(
        """python trainer/train_dpo.py \
            --data_path data/dpo_pairs.jsonl \
            --hidden_size 512"""
    )
    assert (source, norm("out/rlhf_512.pth")) == ("elsewhere/full_sft_512.pth", 2)


PIPELINE = """#!/bin/bash
set -e
MODEL_SIZE=512
python trainer/train_pretrain.py --hidden_size $MODEL_SIZE --data_path data/pretrain_hq.jsonl --epochs 2
python trainer/train_full_sft.py --hidden_size $MODEL_SIZE --data_path data/sft_mini_512.jsonl --epochs 1
python trainer/train_dpo.py --hidden_size $MODEL_SIZE --data_path data/dpo_pairs.jsonl \
    --pretrained_path ./out/full_sft_${MODEL_SIZE}.pth
"""


@pytest.mark.long
def test_example_4_the_pipeline_begins_with_nothing_and_each_stage_takes_what_the_one_before_wrote():
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = subprocess.run(["bash", "-c", PIPELINE], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert run.returncode == 0, run.stderr
    started = [line.partition(":")[0] for line in run.stdout.splitlines() if "matched" in line or "random" in line]
    assert started == ["random weights", "out/pretrain_512.pth", "./out/full_sft_512.pth"]
    assert norm("out/rlhf_512.pth") == 1


def test_the_blocks_of_code_find_and_load(caplog):
    put(f"{REMOTE}/full_sft_512.pth", 2)
    put("out/full_sft_512.pth", 3)
    path, exists = CheckpointLoader.get_checkpoint_path(
        stage="sft", hidden_size=512, use_moe=False, source="remote", remote_dir=REMOTE
    )
    assert (path, exists) == (f"{REMOTE}/full_sft_512.pth", True)
    resolved = CheckpointLoader.resolve_checkpoint_path(
        explicit_path=None, stage="sft", hidden_size=512, use_moe=False, remote_dir=REMOTE
    )
    model = MiniLLM(Config(512, 1))
    success = CheckpointLoader.load_checkpoint(
        model=model, checkpoint_path=resolved, device="cuda:0", strict=False
    )  # there is no such device here, and the guide names it
    assert success is True
    assert model.state_dict()["model.norm.weight"].mean() == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((), 3), (("--pretrained_path", "given/x.pth"), 4)],
)
def test_the_block_for_a_trainer_of_ones_own_loads_what_its_flags_say(flags, expected):
    put("out/pretrain_512.pth", 3)
    put("given/x.pth", 4)
    parser = argparse.ArgumentParser()
    parser.add_argument("--pretrained_path", type=str, default=None)
    parser.add_argument("--load_from_remote", action="store_true")
    args = parser.parse_args(flags)
    path = CheckpointLoader.resolve_checkpoint_path(
        explicit_path=args.pretrained_path, stage="pretrain", hidden_size=512, use_moe=False, remote_dir=REMOTE
    )
    model = MiniLLM(Config(512, 1))
    assert path
    assert CheckpointLoader.load_checkpoint(model=model, checkpoint_path=path, device="cpu")
    assert model.state_dict()["model.norm.weight"].mean() == expected
