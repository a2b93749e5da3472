"""The blocks of BAGEL's guide: within a training (makers/guide_blocks.py, one start of ranks), and its commands."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import ckpt_fsdp.convert_to_hf_format as command
import pytest

import ckpt_core

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
SCRIPT = Path(__file__).parents[1] / "makers" / "guide_blocks.py"
BLOCKS = [line.split("(")[0].removeprefix("def ") for line in SCRIPT.read_text().split("@block\n")[1:]]
RANKS = [2, pytest.param(4, marks=pytest.mark.long)]
AS_IN_THE_GUIDE = {
    "model.safetensors",
    "ema.safetensors",
    "ae.safetensors",
    "config.json",
    "llm_config.json",
    "vit_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "model.safetensors.index.json",
}


@pytest.fixture(scope="session", params=RANKS)
def ran(request, made):
    """The folder that so many ranks filled, and how many they were."""
    return made("guide_blocks.py", request.param), request.param


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_runs_as_it_is_written(ran, block):
    outcomes = json.loads((ran[0] / "outcomes.json").read_text())
    failed = {rank: error for rank, error in enumerate(outcomes[block]) if error}
    assert not failed, "\n".join(f"rank {rank}: {error}" for rank, error in failed.items())


@pytest.mark.parametrize("way", ["dcp", "fallback"])
@pytest.mark.parametrize("wrapper", ["fsdp1", "fsdp2"])
def test_a_sharded_save_says_what_it_has_and_nothing_is_wrong_with_it(ran, wrapper, way):
    folder, ranks = ran
    place = folder / wrapper / way / "checkpoints" / "0000006"
    said = json.loads((place / "metadata.json").read_text())
    assert said == {
        "train_steps": 6,
        "world_size": ranks,
        "checkpoint_type": "sharded",
        "has_ema": True,
        "has_scheduler": True,
        "has_data_status": True,
    }
    report = ckpt_core.verify(str(place), depth="bytes").report
    assert report.ok and not [finding for finding in report.findings if finding.severity.name == "WARNING"]


def test_the_guides_command_makes_the_guides_directory_of_a_saved_step(ran, base_model, tmp_path, capsys):
    import torch

    folder, _ = ran
    checkpoint = folder / "fsdp2" / "dcp" / "checkpoints" / "0000006"
    arguments = ["--checkpoint_dir", checkpoint, "--output_dir", tmp_path / "hf_0000006"]
    assert command.main([*map(str, arguments), "--base_model_path", str(base_model)]) == 0
    assert {path.name for path in (tmp_path / "hf_0000006").iterdir()} >= AS_IN_THE_GUIDE
    whole = torch.load(folder / "whole.pt", weights_only=True)
    made = ckpt_core.load(str(tmp_path / "hf_0000006"))
    for label, kind in (("model", "model"), ("ema", "ema_model")):
        name = "llm2vae.weight"
        assert torch.equal(made.to_torch(label)[name], whole[kind]["fsdp2"][name].bfloat16()), label
    assert "NaViT" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("models", [[], ["--models", "ema"], ["--models", "main"]])
def test_the_guides_command_lines_run_under_torchrun_with_four_processes_and_a_port(made, base_model, tmp_path, models):
    checkpoint = made("guide_blocks.py", 4) / "fsdp1" / "fallback" / "checkpoints" / "0000006"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=4", f"--master_port={port}"]
    run += [command.__file__, "--checkpoint_dir", str(checkpoint), "--output_dir", str(tmp_path / "NEW_MODEL_DIR")]
    run += ["--base_model_path", str(base_model), *models]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1,2,3,4"}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "NEW_MODEL_DIR").iterdir()}
    left_out = {"main": {"ema.safetensors"}, "ema": {"model.safetensors"}}.get(models[-1] if models else "", set())
    assert files >= AS_IN_THE_GUIDE - left_out and not files & left_out
