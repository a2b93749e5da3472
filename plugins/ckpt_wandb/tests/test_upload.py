"""Uploads: a version with all of its files, said by its manifest; or none, and `latest` as it was."""

import os
import signal
import subprocess
import sys
import time

import pytest
from ckpt_wandb import download, upload
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.refs import parse

from ckpt_core import CheckpointNotFoundError, CorruptError, NoAnswerError, UsageError, locate
from tests.servers.wandb.samples import safetensors, trainer_step


def step(number):
    return {path.partition("/")[2]: data for path, data in trainer_step(number).items()}


def sent_files(project):
    return [request.received for request in project.server.requests if request.kind == "upload"]


def test_an_upload_is_a_version_with_metadata_and_aliases_that_downloads_the_same(project, folder_of, tmp_path):
    folder = folder_of(step(400) | {".hidden": b"dot"})
    done = upload(folder, f"{project.name}/m", aliases=("best",), metadata={"eval_loss": 0.25})
    assert (done.ref, done.is_new) == (project.url("m:v0"), True)
    for alias in ("latest", "best", "step-400"):
        assert locate(project.url(f"m:{alias}")).require().url == done.ref
    made = open_artifact(parse(done.ref))
    assert made.type == "model"
    assert made.metadata["eval_loss"] == 0.25
    assert (made.metadata["format"], made.metadata["step"]) == ("hf-trainer", 400)
    assert "model" in made.metadata["components"]
    download(done.ref, tmp_path / "back")
    assert {p.name: p.read_bytes() for p in (tmp_path / "back").iterdir()} == step(400) | {".hidden": b"dot"}


def test_the_same_content_makes_no_new_version_and_only_what_changed_is_sent(project, folder_of):
    upload(folder_of(step(400)), f"{project.name}/m")
    again = upload(folder_of(step(400)), f"{project.name}/m")
    assert (again.ref, again.is_new) == (project.url("m:v0"), False)
    project.forget()
    changed = step(400) | {"config.json": f'{{"model_type": "{project.name}"}}'.encode()}  # what no other test stored
    assert upload(folder_of(changed), f"{project.name}/m").ref == project.url("m:v1")
    assert sent_files(project) == [len(changed["config.json"])]
    older = upload(folder_of(step(400)), f"{project.name}/m")
    assert (older.ref, older.is_new) == (project.url("m:v0"), False)


def test_best_and_last_are_each_of_one_step(project, folder_of):
    upload(folder_of(step(10)), f"{project.name}/m", aliases=("best",))
    upload(folder_of(step(20)), f"{project.name}/m")
    best, last = (open_artifact(parse(project.url(f"m:{alias}"))) for alias in ("best", "latest"))
    assert (best.metadata["step"], last.metadata["step"]) == (10, 20)
    assert best.digest != last.digest


def test_a_refused_upload_is_an_error_and_latest_is_what_it_was(project, folder_of):
    upload(folder_of(step(400)), f"{project.name}/m")
    project.server.faults.add("403", "upload")
    with pytest.raises(NoAnswerError, match=r"did not take the upload .* no version was made, and latest is what it"):
        upload(folder_of(step(600)), f"{project.name}/m", timeout=15)
    assert locate(project.url("m:latest")).require().url == project.url("m:v0")
    project.server.faults.clear()
    assert upload(folder_of(step(600)), f"{project.name}/m").ref == project.url("m:v1")


def test_a_run_that_does_not_begin_within_our_deadline_is_one_clear_line(project, folder_of, command, monkeypatch):
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "1")
    project.server.faults.add("502", "graphql", name="UpsertBucket")  # the client asks again for 90 s by itself
    code, _, err = command("copy", str(folder_of(step(400))), project.url("m"))
    said = "did not take the upload within 1 s; no version was made, and latest is what it was; check the connection"
    assert (code, said in err, err.count("\n")) == (5, True, 1), err


@pytest.mark.long
@pytest.mark.parametrize(("key", "said"), [("z" * 40, "refused the API key (HTTP 401)"), ("zzzz", "the API key for ")])
def test_a_wrong_key_is_said_by_an_upload_too(project, folder_of, key, said):
    """In a process of its own: one that has logged something keeps to the key it did that with."""
    command = [sys.executable, "-m", "ckpt_core.cli.main", "copy", str(folder_of(step(400))), project.url("m")]
    done = subprocess.run(command, env={**project.env, "WANDB_API_KEY": key}, capture_output=True, text=True)
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (5, True, 1), done.stderr


@pytest.mark.long
def test_a_version_that_is_not_made_in_time_is_one_clear_line(project, folder_of):
    project.server.stall_seconds = 100.0
    project.server.faults.add("stall", "graphql", name="CreateArtifact")
    script = f"from ckpt_wandb import upload\nupload({str(folder_of(step(400)))!r}, {project.name + '/m'!r}, timeout=3)"
    environment = {**project.env, "CKPT_REMOTE_TIMEOUT": "2"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ckpt_core.errors.NoAnswerError"), done.stderr
    assert "did not take the upload within 3 s; no version was made" in done.stderr


@pytest.mark.long
def test_an_upload_that_is_killed_leaves_latest_and_its_rerun_completes(project, folder_of):
    upload(folder_of(step(400)), f"{project.name}/m")
    folder = folder_of(step(600) | {"large.bin": os.urandom(1 << 20)})
    for held in ("upload", "manifest"):
        project.server.faults.clear()
        project.server.stall_seconds = 20.0
        project.server.faults.add("stall", held)
        script = f"from ckpt_wandb import upload; upload({str(folder)!r}, {project.name + '/m'!r})"
        running = subprocess.Popen([sys.executable, "-c", script], env=project.env, start_new_session=True)
        end = time.monotonic() + 60
        while not any(request.kind == "held" for request in project.server.requests) and time.monotonic() < end:
            time.sleep(0.1)
        assert running.poll() is None
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        project.server.faults.clear()
        project.forget()
        assert locate(project.url("m:latest")).require().url == project.url("m:v0")
    assert upload(folder, f"{project.name}/m").ref == project.url("m:v1")


def test_a_manifest_that_is_not_what_was_uploaded_is_an_error(project, folder_of, monkeypatch):
    folder = folder_of(step(400))
    done = upload(folder, f"{project.name}/m")
    from ckpt_wandb.uploading import _check, _files

    (folder / "model.safetensors").write_bytes(safetensors(1))
    (folder / "extra.bin").write_bytes(b"x")
    with pytest.raises(CorruptError, match=r"is not what was uploaded \(extra\.bin, model\.safetensors\)"):
        _check(open_artifact(parse(done.ref)), _files(folder))


def test_an_offline_run_is_recorded_and_said(project, folder_of, monkeypatch, tmp_path):
    script = f"from ckpt_wandb import upload\nprint(upload({str(folder_of(step(400)))!r}, {project.name + '/m'!r}).ref)"
    environment = {**project.env, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    environment["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["None"], done.stderr
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_a_ref_with_a_version_and_a_folder_that_is_not_there_are_refused(project, tmp_path):
    with pytest.raises(UsageError, match="the server chooses the version"):
        upload(tmp_path, f"{project.name}/m:v3")
    with pytest.raises(CheckpointNotFoundError, match="no folder with files in it"):
        upload(tmp_path / "nothing", f"{project.name}/m")


def test_an_active_run_logs_its_uploads_itself_one_after_the_other(project, folder_of):
    import wandb

    entity, name = project.name.split("/")
    with wandb.init(project=name, entity=entity, settings=project.settings()) as run:
        done = [upload(folder_of(step(number)), f"{project.name}/m", run=run).ref for number in (10, 20)]
        run.log({"loss": 0.5})
    assert done == [project.url("m:v0"), project.url("m:v1")]
    made = open_artifact(parse(done[1]))
    assert made.metadata["step"] == 20


def test_a_folder_is_named_from_where_its_training_runs_and_never_by_nothing(project, folder_of, tmp_path, monkeypatch):
    import wandb

    entity, name = project.name.split("/")
    folder = folder_of(step(10))
    with wandb.init(project=name, entity=entity, settings=project.settings()) as run:
        monkeypatch.chdir(folder.parent)
        assert upload(folder.name, f"{project.name}/m", run=run).ref == project.url("m:v0")
        with pytest.raises(UsageError, match="no folder to upload"):
            upload("", f"{project.name}/m", run=run)
