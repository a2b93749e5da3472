"""Copies to an artifact and from one, killed at many points: `latest` stays what it was, and a rerun completes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ckpt_core import copy, locate
from tests.servers.wandb.samples import trainer_step

SIZE = 6 << 20


def step(number):
    files = {path.partition("/")[2]: data for path, data in trainer_step(number).items()}
    return files | {"data.arrow": os.urandom(SIZE)}


def contents(folder):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {name: data for name, data in files.items() if not name.startswith("ckpt.")}


def killed_when_held(project, *words):
    """Run `ckpt`, and kill it with all that it started once the server holds a request back; False where none came."""
    environment = {**project.env, "CKPT_REMOTE_TIMEOUT": "60"}
    environment.pop("WANDB_SERVICE", None)
    command = [sys.executable, "-m", "ckpt_core.cli.main", *words]
    running = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < end:
        if any(request.kind == "held" for request in list(project.server.requests)):
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return True
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL) if running.poll() is None else None
    running.wait()
    return False


# What a copy to an artifact asks; of the rest nothing is made before it, or all of it was.
HELD = [
    ("graphql", "UpsertBucket", 0),
    ("graphql", "CreateArtifact", 0),
    ("upload", "", 0),
    ("upload", "", 1),
    ("upload", "", 2),
    ("graphql", "CreateArtifactFiles", 0),
    ("graphql", "Manifest", 0),
    ("manifest", "", 0),
    ("graphql", "CommitArtifact", 0),
    ("graphql", "ArtifactMembershipByName", 1),
]


@pytest.mark.parametrize(
    "held", [pytest.param(one, marks=[] if one[1] == "CommitArtifact" else pytest.mark.long) for one in HELD], ids=str
)
def test_a_copy_to_an_artifact_that_is_killed_leaves_latest_and_its_rerun_completes(project, folder_of, tmp_path, held):
    copy(str(folder_of(step(400))), project.url("m"))
    files = step(600)
    source, (on, name, skip) = folder_of(files), held
    project.forget()
    project.server.stall_seconds = 20.0
    project.server.faults.add("stall", on, name=name, skip=skip)
    assert killed_when_held(project, "copy", str(source), project.url("m"))
    project.server.faults.clear()
    # It was committed only where it was read back already.
    expected = project.url("m:v1" if name == "ArtifactMembershipByName" else "m:v0")
    assert locate(project.url("m:latest")).require().url == expected
    assert copy(str(source), project.url("m")).destination == project.url("m:v1")
    copy(project.url("m:latest"), str(tmp_path / "back"))
    assert contents(tmp_path / "back") == files


@pytest.mark.long
def test_a_download_that_is_killed_again_and_again_ends_right_with_no_byte_read_for_nothing(
    project, folder_of, tmp_path
):
    from ckpt_wandb import download

    size = 48 << 20  # of each: one kill may leave fifty megabytes that were read ahead
    files = {f"part-{number}.bin": os.urandom(size + number) for number in range(4)}
    project.log("m", folder_of(files))
    project.forget()
    kills = 0
    for killed_after in (1, 1, size // 3, size // 2, 1, size // 5, size, size // 2, size, size // 7, size * 2):
        done = project.download_killed("m:v0", tmp_path / "m", after=killed_after)
        kills += done.returncode == -signal.SIGKILL
        assert (tmp_path / "m").exists() == (done.returncode == 0)
        if done.returncode == 0:
            break
    download(project.url("m:v0"), tmp_path / "m")
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == files
    sent = sum(request.sent for request in project.server.requests if request.kind == "file")
    assert sent <= sum(map(len, files.values())) + kills * (52 << 20)  # what was read ahead when it was killed
    assert kills >= 3
