"""MiniLLM's remote folder on a real S3 server: found, looked into and loaded, and no place taken for another."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ckpt_minillm import CheckpointLoader

import ckpt_core
from ckpt_core import Depth

CKPT = Path(sys.executable).with_name("ckpt")


def ckpt(*arguments, **env):
    done = subprocess.run([CKPT, *arguments], capture_output=True, text=True, env={**os.environ, **env}, timeout=120)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def home(s3, minimind, tmp_path):
    """A remote home with weights and what they resume from; the local files that were put there."""
    weights = minimind.save(tmp_path / "made" / "full_sft_16.pth")
    resume = minimind.save_resume(tmp_path / "made" / "full_sft_16_resume.pth")
    for path in (weights, resume):
        s3.put(f"out/{path.name}", path.read_bytes())
    return weights


def test_a_stage_is_found_and_loaded_into_a_model(s3, home, minimind):
    model = minimind.model()
    path = CheckpointLoader.resolve_checkpoint_path("sft", 16, remote_dir=f"{s3.url}/out", load_from_remote=True)
    assert path == f"{s3.url}/out/full_sft_16.pth"
    assert CheckpointLoader.load_checkpoint(model, path, "cpu") is True
    expected = torch.load(home, weights_only=True)
    assert all(torch.equal(tensor, expected[name].float()) for name, tensor in model.state_dict().items())
    assert CheckpointLoader.get_checkpoint_path("sft", 16, source="remote", remote_dir=f"{s3.url}/out")[1] is True
    assert CheckpointLoader.get_checkpoint_path("dpo", 16, source="remote", remote_dir=f"{s3.url}/out")[1] is False


def test_commands_work_on_the_store(s3, home):
    flags = ("--hidden-size", "16", "--remote-dir", f"{s3.url}/out")
    located = ckpt("locate", "sft", *flags, "-q")
    assert (located.returncode, located.stdout) == (0, f"{s3.url}/out/full_sft_16.pth\n")
    resumed = ckpt("inspect", "sft", *flags, "--resume", "--world-size", "2")
    assert "minillm-resume" in resumed.stdout
    report = ckpt_core.verify("sft", hints={"hidden_size": 16, "remote_dir": f"{s3.url}/out"}, depth=Depth.VALUES)
    assert report.report.findings == ()


def test_what_the_store_lacks_is_exit_3_and_no_other_place_is_taken(s3, home, minimind):
    minimind.save("out/dpo_16.pth")
    flags = ("--hidden-size", "16", "--remote-dir", f"{s3.url}/out")
    missing = ckpt("locate", "dpo", *flags, "--remote-only")
    assert missing.returncode == 3
    assert f"{s3.url}/out/dpo_16.pth" in missing.stderr
    assert ckpt("locate", "dpo", *flags, "-q").stdout == "out/dpo_16.pth\n"


def test_a_wrong_key_is_exit_5_and_no_other_place_is_taken(s3, home, minimind):
    minimind.save("out/full_sft_16.pth")
    flags = ("--hidden-size", "16", "--remote-dir", f"{s3.url}/out")
    denied = ckpt("locate", "sft", *flags, AWS_SECRET_ACCESS_KEY="another")
    assert denied.returncode == 5
    assert "access denied" in denied.stderr
    assert "another" not in denied.stderr


def test_a_server_that_is_down_is_exit_5_within_the_deadline(s3, home, minimind):
    minimind.save("out/full_sft_16.pth")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    run = ckpt(
        "locate",
        "sft",
        "--hidden-size",
        "16",
        "--remote-dir",
        f"{s3.url}/out",
        AWS_ENDPOINT_URL_S3=down,
        CKPT_REMOTE_TIMEOUT="2",
    )
    assert run.returncode == 5
    assert "cannot be reached" in run.stderr
    assert time.monotonic() - start < 60


def test_a_copy_that_broke_off_is_refused_and_the_model_unchanged(s3, home, minimind):
    s3.put("out/full_sft_16.pth", home.read_bytes()[:-100])
    model = minimind.model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ckpt_core.CkptError, match=r"full_sft_16\.pth"):
        CheckpointLoader.load_checkpoint(model, f"{s3.url}/out/full_sft_16.pth", "cpu")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_store_that_goes_away_while_a_model_is_filled_leaves_the_model_as_it_was(s3, home, minimind, monkeypatch):
    model = minimind.model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checkpoint = ckpt_core.load(f"{s3.url}/out/full_sft_16.pth")
    checkpoint.confirm()
    s3.filesystem.rm_file(f"{s3.url}/out/full_sft_16.pth")
    from ckpt_minillm.filling import fill_model

    with pytest.raises(ckpt_core.CkptError):
        fill_model(model, checkpoint)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
