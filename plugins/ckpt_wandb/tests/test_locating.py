"""Refs of artifacts: which version they mean, what is said of it, and what is no artifact's."""

import subprocess
import sys

import pytest
from ckpt_wandb import plugin
from ckpt_wandb.refs import ArtifactRef, meant, parse

from ckpt_core import CheckpointNotFoundError, Query, UsageError, inspect, locate
from tests.servers.wandb.samples import safetensors, trainer_step


def model(number):
    return {"model.safetensors": safetensors(number)}


@pytest.fixture
def two_versions(project, folder_of):
    project.log("m", folder_of(model(0)), aliases=("first",))
    project.log("m", folder_of(model(1)), aliases=("best",))
    return project


@pytest.mark.parametrize("alias", ["best", "latest", "v1"])
def test_an_alias_is_pinned_to_its_version_and_said(two_versions, command, alias):
    code, out, _ = command("locate", f"{two_versions.name}/m:{alias}")
    assert code == 0
    assert out.startswith(two_versions.url("m:v1"))
    assert "digest " in out
    assert (f":{alias} → v1" in out) is (alias != "v1")
    assert locate(two_versions.url(f"m:{alias}")).require().url == two_versions.url("m:v1")


def test_a_name_without_an_alias_is_the_latest(two_versions):
    found = locate(two_versions.url("m"))
    assert found.require().url == two_versions.url("m:v1")
    assert ":latest → v1" in found.attempts[0].candidate.reason


def test_explain_lists_versions_and_their_aliases_and_nothing_else_asks_for_them(two_versions, command):
    two_versions.forget()
    _, out, _ = command("locate", two_versions.url("m:best"), "--explain")
    assert f"not probed   {two_versions.url('m:v0')}  [another version: first]" in out
    asked = [request.name for request in two_versions.server.requests]
    assert "ProjectArtifacts" in asked
    two_versions.forget()
    command("locate", two_versions.url("m:best"))
    assert "ProjectArtifacts" not in [request.name for request in two_versions.server.requests]


def test_a_moved_alias_means_the_new_version_the_next_time(project, folder_of):
    project.log("m", folder_of(model(0)))
    assert locate(project.url("m:latest")).require().url == project.url("m:v0")
    project.log("m", folder_of(model(1)))
    assert locate(project.url("m:latest")).require().url == project.url("m:v1")


def test_a_member_of_a_container_is_picked_and_the_newest_complete_one_is_found(project, folder_of, command):
    project.log("runs", folder_of(trainer_step(200) | trainer_step(400)))
    picked = inspect(f"{project.name}/runs:latest#checkpoint-200")
    assert picked.checkpoint.match.step == 200
    code, out, _ = command("locate", project.url("runs:latest"), "--for", "inference")
    assert code == 0
    assert out.startswith(project.url("runs:v0/checkpoint-400"))


def test_of_a_container_whose_newest_is_half_written_the_one_before_is_found_and_that_is_said(
    project, folder_of, command
):
    half = {"checkpoint-600/model.safetensors": safetensors(600)[:-100], "checkpoint-600/trainer_state.json": b"{}"}
    project.log("runs", folder_of(trainer_step(400) | half))
    code, out, err = command("locate", project.url("runs:latest"), "--for", "inference")
    assert code == 0
    assert out.startswith(project.url("runs:v0/checkpoint-400"))
    assert "passed over" in err
    assert "checkpoint-600" in err


def test_an_artifact_without_a_checkpoint_is_an_error(project, folder_of, command):
    project.log("notes", folder_of({"notes.txt": b"nothing here"}), type="dataset")
    assert command("inspect", project.url("notes:latest"))[0] == 6
    assert command("locate", project.url("notes:latest"), "--for", "inference")[0] == 3


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("m:v7", "m has no version or alias v7; there are v1, latest, best, v0, first"),
        ("m:bset", "m has no version or alias bset; did you mean best?"),
        ("mm:v0", "no artifact mm in PROJECT; did you mean m?"),
    ],
)
def test_what_is_missing_is_said_with_the_nearest_names(two_versions, command, ref, said):
    code, _, err = command("locate", two_versions.url(ref))
    assert code == 3
    words, wanted = err.strip(), said.replace("PROJECT", two_versions.name)
    assert words.startswith(f"ckpt: error: {two_versions.url(ref)}: {wanted.partition(';')[0]}")
    assert set(wanted.partition("; ")[2].replace(",", " ").split()) <= set(words.replace(",", " ").split())


def test_a_project_that_is_not_there_is_said(project, command):
    code, _, err = command("locate", "wandb://local/no-such-project/m:v0")
    assert code == 3
    assert "no project local/no-such-project; check the entity and the project" in err


def test_a_file_that_is_not_in_the_artifact_is_nothing_there(two_versions):
    with pytest.raises(CheckpointNotFoundError, match="nope"):
        locate(two_versions.url("m:v0/nope")).require()


@pytest.mark.parametrize(
    "ref", ["wandb://", "wandb://a", "wandb://a/b", "wandb://a//c:v0", "wandb://a/b/c:", "wandb://../b/c:v0"]
)
def test_a_url_that_names_no_artifact_is_a_usage_error(ref):
    with pytest.raises(UsageError, match="names no artifact of W&B; give wandb://ENTITY/PROJECT/NAME:VERSION"):
        parse(ref)


@pytest.mark.parametrize(
    "ref",
    [
        *("full_sft", "out/full_sft_512.pth", "./a/b/c:v0", "../b/c:v0", "~/b/c:v0", "/a/b/c:v0", "a/b:v0", "a/b/c"),
        *("a/b/c/d:v0", "s3://a/b/c:v0", "hf://a/b@main", "a/b/c:v0:v1", "a b/c/d:v0", "a:b/c/d:v0", "C:/b/c:v0", None),
    ],
)
def test_lookalikes_are_no_artifacts(ref):
    assert meant(ref) is None
    assert list(plugin.locate(Query(ref))) == []


def test_a_path_whose_folder_is_here_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert meant("runs/today/model:v0") == ArtifactRef("runs", "today", "model", "v0")
    (tmp_path / "runs" / "today").mkdir(parents=True)
    assert meant("runs/today/model:v0") is None


def test_the_client_is_imported_only_when_an_artifact_is_asked_for(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(safetensors(0))
    script = (
        "import sys; from ckpt_core.cli.main import main\n"
        f"assert main(['inspect', {str(tmp_path / 'm.safetensors')!r}]) == 0\n"
        "assert main(['plugins']) == 0\n"
        "assert main(['locate', 'full_sft']) == 3\n"
        "print([m for m in ('wandb', 'requests', 'ckpt_wandb.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
