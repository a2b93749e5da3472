"""What a user sees when W&B does not answer as it should: the line, the exit code, and no secret in it."""

import logging
import re
import subprocess
import sys
import time

import pytest
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.refs import parse

from ckpt_core import NoAnswerError, list_files
from tests.servers.wandb.samples import safetensors
from tests.servers.wandb.server import KEY

SECRETS = re.compile(f"{KEY}|zzzz|signature|expires=")


@pytest.fixture
def logged(project, folder_of, monkeypatch):
    """A project with one artifact, and a deadline that a test can wait for."""
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "2")
    project.log("m", folder_of({"model.safetensors": safetensors(1)}))
    return project


@pytest.mark.parametrize(
    ("key", "said"),
    [("", "no API key for W&B at "), ("z" * 40, "refused the API key (HTTP 401)"), ("zzzz", "the API key for ")],
)
def test_a_key_that_is_missing_or_wrong_is_said_and_how_to_come_by_one(project, key, said):
    """In a process of its own: one that has logged something keeps to the key it did that with."""
    command = [sys.executable, "-m", "ckpt_core.cli.main", "inspect", project.url("m:v0")]
    environment = {**project.env, "WANDB_API_KEY": key}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 5
    assert said in done.stderr
    assert f"set WANDB_API_KEY to one of {project.server.url}/authorize, or run wandb login" in done.stderr
    assert not SECRETS.search(done.stdout + done.stderr)


def test_a_server_that_is_down_is_not_called_a_wrong_key(logged, command, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://user:zzzz@127.0.0.1:9")
    started = time.monotonic()
    code, out, err = command("inspect", logged.url("m:v0"))
    assert time.monotonic() - started < 60  # the client itself asks again for twenty minutes
    assert code == 5
    assert "W&B at http://127.0.0.1:9 did not answer" in err
    assert "check the connection and WANDB_BASE_URL" in err
    assert not SECRETS.search(out + err)


@pytest.mark.parametrize(
    ("fault", "on", "name", "said"),
    [
        ("502", "graphql", "Membership", "did not answer"),
        ("stall", "graphql", "Membership", "did not answer"),
        ("403", "graphql", "Membership", "refused the API key"),
        ("503", "manifest", "", "did not answer within 2 s"),
        ("404", "manifest", "", "failed (HTTP 404)"),
        ("403", "manifest", "", "refused"),
        pytest.param(*("503", "file", "", "HTTP 503"), marks=pytest.mark.long),
        pytest.param(*("403", "file", "", "access denied"), marks=pytest.mark.long),
        pytest.param(*("404", "file", "", "removed while it was read"), marks=pytest.mark.long),
        pytest.param(*("drop", "file", "", "did not answer as it should"), marks=pytest.mark.long),
        pytest.param(*("stall", "file", "", "no answer within 2 s"), marks=pytest.mark.long),
        pytest.param(*("short", "file", "", "the server sent another range"), marks=pytest.mark.long),
    ],
)
def test_each_failure_is_one_line_and_ends_within_the_deadline(
    logged, command, caplog, monkeypatch, fault, on, name, said
):
    if on == "file":  # all else is known by then, so that nothing but the file is asked for within two seconds
        with monkeypatch.context() as patient:
            patient.setenv("CKPT_REMOTE_TIMEOUT", "60")
            open_artifact(parse(logged.url("m:v0"))).url("model.safetensors")
    logged.server.faults.add(fault, on, name=name)
    started = time.monotonic()
    with caplog.at_level(logging.DEBUG):
        code, out, err = command("inspect", logged.url("m:v0/model.safetensors"))
    assert time.monotonic() - started < 60
    assert code == 5, err
    assert said in err
    assert err.startswith("ckpt: error")
    assert "Traceback" not in err
    assert not SECRETS.search(out + err + caplog.text)


@pytest.mark.parametrize("fault", ["503", "drop", "cut", "expire"])
def test_a_failure_that_passes_is_no_failure(logged, fault):
    logged.server.faults.add(fault, "file", times=1)
    assert list_files(logged.url("m:v0")).read("model.safetensors") == safetensors(1)


def test_the_next_question_after_an_outage_is_answered(logged):
    logged.server.faults.add("503", "manifest")
    with pytest.raises(NoAnswerError):
        list_files(logged.url("m:v0"))
    logged.server.faults.clear()
    assert list(list_files(logged.url("m:v0")).entries) == ["model.safetensors"]


def test_an_artifact_of_another_type_is_a_wrong_question(logged):
    with pytest.raises(ValueError, match="an artifact of type model, asked was dataset"):
        open_artifact(parse(logged.url("m:v0")), type="dataset")


def test_offline_mode_holds_back_no_read(logged, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert list(list_files(logged.url("m:v0")).entries) == ["model.safetensors"]
