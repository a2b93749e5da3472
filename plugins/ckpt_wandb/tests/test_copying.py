"""`ckpt copy`, `save` and `convert` to `wandb://`, and `ckpt copy` from it, with the hashes of the manifest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.refs import parse

from ckpt_core import CorruptError, NoAnswerError, copy, load, locate, save
from tests.servers.wandb.samples import safetensors, trainer_step

HISTORY = [{"loss": 0.5, "step": 200, "epoch": 0.5}, {"eval_loss": 0.25, "loss": 0.4, "step": 400, "epoch": 1.0}]


def step(number, **more):
    files = {path.partition("/")[2]: data for path, data in trainer_step(number, **more).items()}
    state = json.loads(files["trainer_state.json"]) | {"log_history": HISTORY, "best_metric": 0.25}
    return files | {"trainer_state.json": json.dumps(state).encode()}


def contents(folder):
    """Without the seal, which a copy adds."""
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return {name: data for name, data in files.items() if not name.startswith("ckpt.")}


@pytest.fixture
def staging(project):
    return Path(project.env["WANDB_DATA_DIR"]) / "ckpt-uploads"


def staged(folder):
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("lock")]


def test_a_copy_to_an_artifact_is_a_version_with_metadata_and_aliases(project, folder_of, command, tmp_path, staging):
    source = folder_of(step(400))
    code, out, err = command("copy", str(source), f"{project.url('m')}:best")
    assert code == 0, err
    assert f"{project.url('m:v0')}: hf-trainer, 2 files" in out
    assert "version v0 is latest, best, step-400 now; its manifest was read back and compared" in out
    for alias in ("latest", "best", "step-400"):
        assert locate(project.url(f"m:{alias}")).require().url == project.url("m:v0")
    said = open_artifact(parse(project.url("m:v0"))).metadata
    assert (said["format"], said["step"], said["components"]) == ("hf-trainer", 400, ["model", "progress"])
    assert said["metrics"] == {"loss": 0.4, "eval_loss": 0.25, "best_metric": 0.25}
    assert list(said["fingerprint"]) == ["model"]
    assert staged(staging) == []

    code, out, err = command("copy", str(source), project.url("m"))
    assert (code, "no new version: v0 has just this content" in out) == (0, True), err
    project.forget()
    (source / "config.json").write_text('{"model_type": "gpt2"}')
    code, out, _ = command("copy", str(source), project.url("m"))
    assert (code, "version v1 is latest" in out) == (0, True)
    sent = sum(request.received for request in project.server.requests if request.kind == "upload")
    assert sent < (source / "model.safetensors").stat().st_size

    code, out, err = command("copy", project.url("m:best"), str(tmp_path / "back"))
    assert code == 0, err
    assert "source checked by seal and the md5 of each file at its place" in out
    assert contents(tmp_path / "back") == step(400)


def test_tensors_are_saved_to_an_artifact_and_converted_into_one(project, command, tmp_path):
    import numpy as np

    done = save({"w": np.arange(9, dtype="f4")}, project.url("m/weights.safetensors"))
    assert done.location == project.url("m:v0/weights.safetensors")
    assert bytes(load(done.location).read("model", "w")) == np.arange(9, dtype="f4").tobytes()
    code, out, err = command("convert", done.location, project.url("converted"), "--to", "hf")
    assert (code, project.url("converted:v0") in out) == (0, True), err
    assert bytes(load(project.url("converted:latest")).read("model", "w")) == np.arange(9, dtype="f4").tobytes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m:v3", "a version never changes, and W&B numbers them; give wandb://"),
        ("", "names no artifact of W&B"),
    ],
)
def test_what_is_no_destination_is_refused_before_anything_is_read(project, folder_of, command, name, said):
    code, _, err = command("copy", str(folder_of(step(400))), project.url(name))
    assert code == 2
    assert said in err
    code, _, err = command("copy", str(folder_of(step(400)) / "model.safetensors"), project.url("m"))
    assert (code, f"give {project.url('m')}/NAME" in err) == (2, True)


def test_a_refused_copy_makes_no_version_and_its_rerun_reads_nothing_again(project, folder_of, command, staging):
    copy(str(folder_of(step(400))), project.url("m"))
    source = str(folder_of(step(600)))
    project.server.faults.add("403", "upload")
    with pytest.raises(NoAnswerError, match="did not take the upload"):
        copy(source, project.url("m"))
    assert locate(project.url("m:latest")).require().url == project.url("m:v0")
    assert staged(staging)
    project.server.faults.clear()
    done = copy(source, project.url("m"))
    assert (done.destination, done.moved, done.kept) == (project.url("m:v1"), 0, 2)
    assert staged(staging) == []


def test_a_staged_upload_that_nobody_reruns_is_listed_and_removed_by_clean(project, folder_of, command, staging):
    project.server.faults.add("403", "upload")
    with pytest.raises(NoAnswerError, match="did not take the upload"):
        copy(str(folder_of(step(600))), project.url("m"))
    code, out, err = command("clean", project.url("m"))
    assert (code, "unfinished write that can go on" in out, project.url("m") in out) == (1, True, True), err
    assert staged(staging)
    assert command("clean", project.url("m"), "--apply")[0] == 0
    assert staged(staging) == []
    code, out, err = command("clean", project.url("m"))
    assert (code, "nothing is left by writers that are gone" in out) == (0, True), err


def test_an_offline_copy_is_recorded_with_its_bytes_and_synced_later(project, folder_of, tmp_path, staging):
    source = folder_of(step(400))
    environment = {**project.env, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    ckpt = [sys.executable, "-m", "ckpt_core.cli.main"]
    offline = environment | {"WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run([*ckpt, "copy", source, project.url("m")], env=offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "W&B is offline: nothing was uploaded yet; wandb sync " in done.stdout
    assert staged(staging) == []
    for path in source.iterdir():
        path.unlink()
    run = done.stdout.partition("wandb sync ")[2].partition(" uploads it")[0]
    synced = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", run], env={**project.env}, capture_output=True, text=True
    )
    assert synced.returncode == 0, synced.stderr
    copy(project.url("m:step-400"), str(tmp_path / "back"))
    assert contents(tmp_path / "back") == step(400)


@pytest.mark.parametrize("algorithm", ["MD5", "XXH128"])
def test_a_copy_compares_every_file_with_the_manifest(project, folder_of, command, tmp_path, algorithm):
    files = step(400) | {"data.arrow": os.urandom(20 << 20)}
    project.log("m", folder_of(files), digest_algorithm=algorithm)
    project.server.faults.add("flip", "file", name="arrow")
    code, _, err = command("copy", project.url("m:v0"), str(tmp_path / "there"))
    assert (code, "CP003" in err) == (4, True), err
    assert not (tmp_path / "there").exists()
    project.server.faults.clear()
    code, out, err = command("copy", project.url("m:v0"), str(tmp_path / "there"))
    assert (code, f"source checked by the {algorithm.lower()} of each file at its place" in out) == (0, True), err
    assert contents(tmp_path / "there") == files


def test_a_component_is_all_that_a_copy_of_it_moves(project, folder_of, command, tmp_path):
    import torch

    weight = torch.nn.Parameter(torch.zeros(1 << 20))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    source = folder_of(step(400))
    torch.save(optimizer.state_dict(), source / "optimizer.pt")
    project.log("m", source)
    project.forget()
    code, _, err = command("copy", project.url("m:v0"), str(tmp_path / "model"), "--component", "model")
    assert code == 0, err
    assert "optimizer.pt" not in contents(tmp_path / "model")
    assert contents(tmp_path / "model")["model.safetensors"] == step(400)["model.safetensors"]
    assert sum(request.sent for request in project.server.requests) < 1 << 20


def test_a_copy_that_was_damaged_in_the_store_is_an_error(project, folder_of, tmp_path):
    # Of its own content: the server stores what is the same once, for all projects.
    project.log("m", folder_of(step(400) | {"model.safetensors": safetensors(4077)}))
    records = project.server.records
    mine = [one for one in records.artifacts.values() if one["collection"].startswith(f"{project.name}/")]
    blob = records.blob_of(records.entries(mine[-1])["model.safetensors"])
    blob.write_bytes(blob.read_bytes()[:-1] + bytes([blob.read_bytes()[-1] ^ 1]))
    with pytest.raises(CorruptError, match="and its place records") as raised:
        copy(project.url("m:v0"), str(tmp_path / "there"))
    assert raised.value.code == "CP003"
    assert not (tmp_path / "there").exists()
