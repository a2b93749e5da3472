"""Downloads: the right bytes or an error, whole or not at all, gone on with, beside what the client itself does."""

import os
import signal
import time
from pathlib import Path

import ckpt_wandb
import pytest
from ckpt_wandb import download
from ckpt_wandb.stage import filled

from ckpt_core import (
    CheckpointNotFoundError,
    CorruptError,
    LockedError,
    NoAnswerError,
    OverwriteError,
    ReplacedError,
    UnsafeContentError,
    inspect,
)
from tests.servers.range_server import range_server
from tests.servers.wandb.samples import safetensors, trainer_step

MODEL = "model.safetensors"


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def beside(folder):
    return sorted(one.name for one in folder.iterdir())


@pytest.fixture
def destination(tmp_path):
    (tmp_path / "there").mkdir()
    return tmp_path / "there" / "m"


@pytest.mark.parametrize("algorithm", ["MD5", "XXH128"])
def test_a_download_is_every_byte_of_the_version_with_its_hash(project, folder_of, destination, algorithm):
    files = trainer_step(400) | {".hidden": b"dot", "empty.txt": b"", "large.bin": os.urandom(5 << 20)}
    project.log("m", folder_of(files), digest_algorithm=algorithm)
    done = download(f"{project.name}/m:latest", destination, type="model")
    assert contents(destination) == files
    assert (done.ref, done.verified, done.unverifiable) == (project.url("m:v0"), tuple(sorted(files)), {})
    assert done.received == sum(map(len, files.values()))
    assert beside(destination.parent) == ["m"]


def test_one_checkpoint_of_a_container_is_all_that_moves(project, folder_of, destination):
    project.log("runs", folder_of(trainer_step(200) | trainer_step(400)))
    project.forget()
    download(f"{project.url('runs:latest')}#checkpoint-400", destination)
    assert contents(destination) == {path.partition("/")[2]: data for path, data in trainer_step(400).items()}
    assert inspect(str(destination)).checkpoint.match.format == "hf-trainer"
    assert sum(request.sent for request in project.server.requests if request.kind == "file") == sum(
        map(len, trainer_step(400).values())
    )
    with pytest.raises(CheckpointNotFoundError, match="nothing below checkpoint-500"):
        download(f"{project.url('runs:latest')}#checkpoint-500", destination.with_name("other"))


def test_a_second_download_moves_nothing(project, folder_of, destination):
    project.log("m", folder_of(trainer_step(400)))
    download(project.url("m:v0"), destination)
    project.forget()
    again = download(project.url("m:v0"), destination)
    assert (again.received, again.kept) == (0, sum(map(len, trainer_step(400).values())))
    assert "file" not in project.asked()


def test_a_folder_that_holds_something_else_is_left_as_it_is(project, folder_of, destination):
    project.log("m", folder_of(trainer_step(400)))
    download(project.url("m:v0"), destination)
    damaged = destination / "checkpoint-400" / MODEL
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(OverwriteError, match="holds something else than wandb://"):
        download(project.url("m:v0"), destination)
    assert damaged.read_bytes() == data


@pytest.mark.parametrize(("fault", "error"), [("flip", CorruptError), ("503", NoAnswerError), ("403", NoAnswerError)])
def test_a_download_that_cannot_be_right_is_an_error_and_names_no_folder(
    project, folder_of, destination, monkeypatch, fault, error
):
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "2")
    project.log("m", folder_of(trainer_step(400)))
    project.server.faults.add(fault, "file", name=MODEL)
    with pytest.raises(error) as raised:
        download(project.url("m:v0"), destination)
    assert not destination.exists()
    if error is CorruptError:
        assert raised.value.code == "WB001"
        assert "what W&B holds is not what was logged" in str(raised.value)
    project.server.faults.clear()
    assert download(project.url("m:v0"), destination).verified
    assert contents(destination) == trainer_step(400)


@pytest.mark.parametrize("fault", ["flip", "cut", "drop", "503", "expire"])
def test_a_fault_that_passes_is_made_good(project, folder_of, destination, fault):
    files = {MODEL: safetensors(3, megabytes=6)}
    project.log("m", folder_of(files))
    project.server.faults.add(fault, "file", times=1)
    download(project.url("m:v0"), destination)
    assert contents(destination) == files


def blob_of(project, path):
    """Where the server has the bytes of a file of the project's newest artifact."""
    records = project.server.records
    mine = [one for one in records.artifacts.values() if one["collection"].startswith(f"{project.name}/")]
    return records.blob_of(records.entries(mine[-1])[path])


def test_an_object_that_was_cut_short_at_the_server_is_an_error(project, folder_of, destination):
    project.log("m", folder_of({MODEL: safetensors(9, megabytes=1)}))
    blob = blob_of(project, MODEL)
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1000])
    with pytest.raises(ReplacedError, match="another object came than the one that was listed"):
        download(project.url("m:v0"), destination)
    assert not destination.exists()
    blob.write_bytes(whole)
    download(project.url("m:v0"), destination)
    assert contents(destination) == {MODEL: whole}


def test_the_client_gives_one_version_for_another_of_the_same_size_and_we_do_not(project, folder_of, tmp_path):
    import wandb

    datas = [safetensors(number) for number in (21, 22)]
    for data in datas:
        project.log("m", folder_of({MODEL: data}))
    api = wandb.Api()
    old, new = (api.artifact(f"{project.name}/m:v{number}") for number in (0, 1))
    old.download(root=str(tmp_path / "old"), skip_cache=True)
    new.download(root=str(tmp_path / "new"))
    assert (tmp_path / "new" / MODEL).read_bytes() == datas[0] != datas[1]
    download(project.url("m:v1"), tmp_path / "ours")
    assert (tmp_path / "ours" / MODEL).read_bytes() == datas[1]


def test_the_client_delivers_a_flipped_byte_and_we_do_not(project, folder_of, tmp_path):
    import wandb

    data = safetensors(31)
    project.log("m", folder_of({MODEL: data}))
    blob = blob_of(project, MODEL)
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    wandb.Api().artifact(f"{project.name}/m:v0").download(root=str(tmp_path / "theirs"), skip_cache=True)
    assert (tmp_path / "theirs" / MODEL).read_bytes() != data
    with pytest.raises(CorruptError, match="what W&B holds is not what was logged"):
        download(project.url("m:v0"), tmp_path / "ours")


def test_the_client_keeps_a_file_that_was_cut_short_and_we_do_not(project, folder_of, tmp_path):
    import wandb

    data = safetensors(41)
    project.log("m", folder_of({MODEL: data}))
    blob = blob_of(project, MODEL)
    blob.write_bytes(data[:-1000])
    for _ in range(2):
        wandb.Api().artifact(f"{project.name}/m:v0").download(root=str(tmp_path / "theirs"), skip_cache=True)
        blob.write_bytes(data)
    assert len((tmp_path / "theirs" / MODEL).read_bytes()) == len(data) - 1000
    assert download(project.url("m:v0"), tmp_path / "ours").verified == (MODEL,)


@pytest.mark.parametrize("name", ["../escaped.bin", "/etc/escaped.bin", "a/../../escaped.bin", "model.safetensors/x"])
def test_a_name_that_leaves_the_folder_is_refused_before_a_byte_moves(project, folder_of, destination, name):
    import json

    project.log("m", folder_of({MODEL: safetensors(1), "other.bin": b"x"}))
    records = project.server.records
    (artifact,) = [one for one in records.artifacts.values() if one["collection"].startswith(f"{project.name}/")]
    manifest = json.loads(records.manifest_file(artifact["manifest"]).read_bytes())
    manifest["contents"][name] = manifest["contents"].pop("other.bin")
    records.manifest_file(artifact["manifest"]).write_text(json.dumps(manifest))
    project.forget()
    with pytest.raises(UnsafeContentError, match="which no folder can; nothing was downloaded"):
        download(project.url("m:v0"), destination)
    assert "file" not in project.asked()
    assert beside(destination.parent) == []


def test_references_are_followed_and_never_called_verified(project, folder_of, destination):
    data = safetensors(5)
    stored_folder = folder_of({"with.bin": data, "without.bin": data})
    with range_server(stored_folder) as stored:
        references = [
            (f"{stored.url}/with.bin", {"checksum": True}),
            (f"{stored.url}/without.bin", {"checksum": False}),
        ]
        project.log("m", folder_of({"config.json": b"{}"}), references=references)
        done = download(project.url("m:v0"), destination)
        assert contents(destination) == {"config.json": b"{}", "with.bin": data, "without.bin": data}
        assert done.verified == ("config.json",)
        assert done.unverifiable["without.bin"] == "a reference that was logged without a checksum"
        assert "its bytes have no hash" in done.unverifiable["with.bin"]
        (stored_folder / "with.bin").write_bytes(data[::-1] + b"x")
        with pytest.raises(ReplacedError, match=r"with\.bin: what it refers to was replaced since it was logged"):
            download(project.url("m:v0"), destination.with_name("again"))


def test_two_downloads_to_one_place_do_not_meet(project, folder_of, destination, monkeypatch):
    project.log("m", folder_of(trainer_step(400)))
    seen = []
    with pytest.raises(LockedError, match="another process fills it"):
        download(project.url("m:v0"), destination, progress=lambda _: seen or seen.append(_again(project, destination)))
    assert not destination.exists()


def _again(project, destination):
    return download(project.url("m:v0"), destination)


def test_a_download_that_is_killed_anywhere_goes_on_and_half_of_it_is_never_there(project, folder_of, destination):
    files = {f"part-{number}.bin": os.urandom(3 << 20) for number in range(4)}
    project.log("m", folder_of(files))
    for killed_after in (5 << 20,):
        done = project.download_killed("m:v0", destination, after=killed_after)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not destination.exists()
    project.forget()
    done = download(project.url("m:v0"), destination)
    assert contents(destination) == files
    assert done.kept > 0
    assert done.kept + done.received == 12 << 20
    assert sum(request.sent for request in project.server.requests if request.kind == "file") == done.received
    assert beside(destination.parent) == ["m"]


def test_what_somebody_put_into_a_stage_is_not_published(project, folder_of, destination):
    project.log("m", folder_of(trainer_step(400)))
    project.server.faults.add("404", "file", name=MODEL)
    with pytest.raises((NoAnswerError, ReplacedError, CheckpointNotFoundError, CorruptError)):
        download(project.url("m:v0"), destination)
    (stage,) = destination.parent.iterdir()
    (stage / "planted.bin").write_bytes(b"x")
    project.server.faults.clear()
    download(project.url("m:v0"), destination)
    assert contents(destination) == trainer_step(400)


def test_a_disk_that_is_full_is_said_before_a_byte_moves(tmp_path):
    from ckpt_core import BudgetError

    with pytest.raises(BudgetError, match="are free; make room"), filled(tmp_path / "m", "key", 1 << 60):
        pytest.fail("nothing may be filled")


def test_a_download_ends_within_the_deadline_where_the_client_would_retry_for_minutes(
    project, folder_of, destination, monkeypatch
):
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "2")
    project.log("m", folder_of(trainer_step(400)))
    project.server.faults.add("stall", "file")
    project.server.stall_seconds = 60
    started = time.monotonic()
    with pytest.raises(NoAnswerError):
        download(project.url("m:v0"), destination)
    assert time.monotonic() - started < 50  # the server is silent for 60


def test_the_public_names_are_these():
    assert ckpt_wandb.__all__ == [
        *("Download", "Resumption", "Upload", "add_arguments", "download", "resolve", "subset_indices", "upload"),
    ]
    assert callable(ckpt_wandb.download)
