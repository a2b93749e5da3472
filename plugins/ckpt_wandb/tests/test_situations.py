"""What goes wrong while a checkpoint is copied: the line and the exit code of each, nothing there, no secret said."""

import json
import logging
import os
import re
import subprocess

import pytest
from ckpt_wandb import download

from ckpt_core import BudgetError
from tests.servers.wandb.samples import safetensors, trainer_step
from tests.servers.wandb.server import KEY

SECRETS = re.compile(f"{KEY}|signature|expires=")


@pytest.fixture
def logged(project, folder_of, monkeypatch):
    """A project with one artifact, and a deadline that a test can wait for."""
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "2")
    project.log("m", folder_of(trainer_step(400)))
    return project


@pytest.fixture
def full(tmp_path):
    """A disk of a mebibyte."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("fault", "on", "ref", "code", "said"),
    [
        ("403", "file", "m:v0", 5, "access denied"),
        ("404", "file", "m:v0", 5, "was removed while it was read"),
        ("503", "file", "m:v0", 5, "HTTP 503"),
        ("drop", "file", "m:v0", 5, "did not answer as it should"),
        ("stall", "file", "m:v0", 5, "no answer within 2 s"),
        ("short", "file", "m:v0", 5, "the server sent another range"),
        ("flip", "file", "m:v0/checkpoint-400/model.safetensors", 4, "model.safetensors"),
        ("502", "graphql", "m:v0", 5, "did not answer"),
        ("403", "graphql", "m:v0", 5, "refused the API key"),
        ("404", "manifest", "m:v0", 5, "failed (HTTP 404)"),
        ("", "file", "n:v0", 3, "no artifact n in"),
        ("", "file", "m:v7", 3, "has no version or alias v7; there are v0, latest"),
        ("", "file", "m:lates", 3, "has no version or alias lates; did you mean latest?"),
        ("", "file", "m:v0#checkpoint-500", 2, "no single checkpoint of that name in it; it holds checkpoint-400"),
        ("", "file", "m:", 2, "names no artifact of W&B"),
    ],
)
def test_each_situation_is_one_line_with_its_exit_code(logged, command, caplog, tmp_path, fault, on, ref, code, said):
    if fault:
        logged.server.faults.add(fault, on)
    with caplog.at_level(logging.DEBUG):
        found, out, err = command("copy", logged.url(ref), str(tmp_path / "there"))
    assert (found, said in err) == (code, True), err
    assert err.startswith("ckpt: error")
    assert "Traceback" not in err
    assert not SECRETS.search(out + err + caplog.text)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("name", ["../escaped.bin", "a/../../escaped.bin", "/etc/escaped.bin"])
def test_a_name_that_leaves_the_folder_is_never_written(project, folder_of, command, tmp_path, name):
    project.log("m", folder_of({"model.safetensors": safetensors(1), "other.bin": b"x"}))
    records = project.server.records
    (artifact,) = [one for one in records.artifacts.values() if one["collection"].startswith(f"{project.name}/")]
    manifest = json.loads(records.manifest_file(artifact["manifest"]).read_bytes())
    manifest["contents"][name] = manifest["contents"].pop("other.bin")
    records.manifest_file(artifact["manifest"]).write_text(json.dumps(manifest))
    code, _, err = command("copy", project.url("m:v0"), str(tmp_path / "in" / "there"))
    assert (code, "a name that no directory can hold, or that leads out of it" in err) == (5, True), err
    assert not list(tmp_path.rglob("escaped.bin"))


def test_a_disk_that_is_full_is_an_error_and_the_rerun_on_a_larger_one_is_right(project, folder_of, full, tmp_path):
    project.log("m", folder_of({"large.bin": os.urandom(3 << 20), "small.bin": b"x"}))
    with pytest.raises(BudgetError, match="make room"):
        download(project.url("m:v0"), full / "m")
    assert not (full / "m").exists()
    assert download(project.url("m:v0"), tmp_path / "m").verified == ("large.bin", "small.bin")


def test_a_disk_that_fills_while_it_is_written_is_the_same_error(project, folder_of, full, monkeypatch):
    """As where another program takes the room that was there."""
    monkeypatch.setattr("ckpt_wandb.stage._check_room", lambda *_: None)
    project.log("m", folder_of({"large.bin": os.urandom(3 << 20)}))
    with pytest.raises(BudgetError, match="the disk is full; make room and run it again"):
        download(project.url("m:v0"), full / "m")
    assert not (full / "m").exists()
