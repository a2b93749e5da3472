"""run.sh of examples/minillm: three stages, each from what the one before wrote, and what is there is gone on with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from minillm.model import Config, MiniLLM

import ckpt_core

RUN = Path(__file__).parents[3] / "examples" / "minillm" / "run.sh"
VENV = Path(sys.executable).parents[1]


@pytest.fixture
def run(tmp_path):
    """The pipeline in a folder of its own, small, on one processor; what it says comes back."""

    def call(*options, code=0, **env):
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("SMOKE_", "USE_"))}
        own = {
            "MODEL_HIDDEN_SIZE": "32",
            "MODEL_NUM_LAYERS": "1",
            "MINILLM_REMOTE_DIR": str(tmp_path / "remote"),
            "VENV_DIR": str(VENV),
            "TF_DIR": "figures",
            "OMP_NUM_THREADS": "1",
            **env,
        }
        done = subprocess.run([RUN, *options], capture_output=True, text=True, env={**plain, **own}, timeout=280)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def figures(stage):
    return json.loads(Path(f"figures/{stage}.json").read_text())


def stale(place, *, moe=False):
    """Weights of the right name and size that somebody left; they are given back."""
    torch.manual_seed(5)
    state = MiniLLM(Config(32, 1, moe)).state_dict()
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, place)
    return state


def test_three_stages_each_from_what_the_one_before_wrote(run):
    """A stale remote file of the same name does not win."""
    stale("remote/full_sft_32.pth")
    said = run("--smoke-test", SMOKE_DPO_STEPS="3", SMOKE_SFT_LIMIT="3")
    assert "pretraining starts from random weights" in said
    assert [figures(stage)["source"] for stage in ("pretrain", "sft", "dpo")] == [
        None,
        "out/pretrain_32.pth",
        "out/full_sft_32.pth",
    ]
    assert [figures(stage)["steps"] for stage in ("pretrain", "sft", "dpo")] == [4, 2 * 2, 3]
    assert figures("dpo")["after"]["margin"] > figures("dpo")["before"]["margin"] == 0
    for stage in ("pretrain", "full_sft", "rlhf"):
        for part in ("", "_resume"):
            assert ckpt_core.verify(f"out/{stage}_32{part}.pth").report.findings == ()


@pytest.mark.long
def test_run_again_it_trains_nothing_twice(run):
    stale("remote/full_sft_32.pth")
    run("--smoke-test")
    before = {path: path.read_bytes() for path in Path("out").glob("*.pth")}
    run("--smoke-test")
    assert [figures(stage)["steps"] for stage in ("pretrain", "sft", "dpo")] == [0, 0, 0]
    assert before == {path: path.read_bytes() for path in Path("out").glob("*.pth")}


@pytest.mark.long
def test_what_was_stopped_goes_on_and_what_has_another_start_is_trained_anew(run):
    stale("remote/pretrain_32.pth")
    run("--smoke-test", "--skip-pretrain", SMOKE_SFT_STEPS="2")
    run("--smoke-test", "--skip-pretrain")
    assert figures("sft")["resumed"] and figures("sft")["steps"] == 2
    assert not figures("dpo")["resumed"] and figures("dpo")["steps"] == 4
    assert figures("dpo")["source"] == "out/full_sft_32.pth"
    run("--smoke-test", "--skip-pretrain", "--force-sft", "--skip-dpo")
    assert not figures("sft")["resumed"] and figures("sft")["steps"] == 4


@pytest.mark.long
def test_skipped_stages_are_found_verified_and_never_guessed(run):
    assert "nothing to start from" in run("--smoke-test", "--skip-pretrain", code=1)
    wanted = stale("remote/pretrain_32.pth")
    assert "starting from" in run("--smoke-test", "--skip-pretrain", "--skip-dpo")
    assert figures("sft")["source"].endswith("remote/pretrain_32.pth")
    assert not Path("out/pretrain_32.pth").exists() and wanted
    Path("out/full_sft_32.pth").unlink()
    assert "nothing to start from" in run("--smoke-test", "--skip-pretrain", "--skip-sft", code=1)
    run("--smoke-test", "--skip-pretrain", "--skip-sft", "--allow-fallback")
    assert figures("dpo")["source"].endswith("remote/pretrain_32.pth")
    Path("remote/full_sft_32.pth").write_bytes(os.urandom(200_000))
    said = run("--smoke-test", "--skip-pretrain", "--skip-sft", code=1)
    assert "remote/full_sft_32.pth" in said and "is damaged or not what its name says" in said


@pytest.mark.long
def test_experts_are_asked_for_found_and_written_under_their_names(run):
    stale("remote/pretrain_32.pth")
    wanted = stale("remote/pretrain_32_moe.pth", moe=True)
    run("--smoke-test", "--skip-dpo", USE_MOE="true", OUT_DIR="moe", PRETRAIN_ARGS="--learning_rate 0")
    assert figures("pretrain")["source"].endswith("remote/pretrain_32_moe.pth")
    loaded = ckpt_core.load("moe/pretrain_32_moe.pth").to_torch(separate=True)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in wanted.items())
    assert figures("sft")["source"] == "moe/pretrain_32_moe.pth"
    assert "not true or false" in run("--smoke-test", USE_MOE="perhaps", code=1)


@pytest.mark.long
def test_the_environment_variable_is_where_the_first_stage_starts(run):
    stale("mine/named.pth")
    run("--smoke-test", "--skip-dpo", MINILLM_PRETRAINED_PATH="mine/named.pth")
    assert [figures(stage)["source"] for stage in ("pretrain", "sft")] == ["mine/named.pth", "out/pretrain_32.pth"]
    said = run("--smoke-test", "--force-pretrain", MINILLM_PRETRAINED_PATH="gone.pth", code=1)
    assert "gone.pth" in said and "pretraining cannot start" in said


def test_what_is_in_the_way_is_left_as_it_is(run):
    broken = Path("broken")
    broken.mkdir()
    (broken / "mine").write_text("x")
    assert "name another with VENV_DIR" in run(VENV_DIR="broken", code=1)
    assert [path.name for path in broken.iterdir()] == ["mine"] and not Path("out").exists()
    assert "Usage" in run("--help") and "Usage" in run("--nonsense", code=2)
