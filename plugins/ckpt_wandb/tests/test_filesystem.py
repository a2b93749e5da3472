"""`wandb://` as a filesystem: listings from the manifest, reads in ranges, URLs that expire, references."""

import ast
import json
import os
from pathlib import Path

import ckpt_wandb
import fsspec
import pytest
from ckpt_wandb.filesystem import WandbFileSystem

from ckpt_core import Depth, NoAnswerError, UnsafeContentError, list_files, load, verify
from tests.servers.range_server import range_server
from tests.servers.wandb.samples import safetensors, trainer_step

MANY = {f"checkpoint-400/part-{number}.bin": bytes([number]) * 100 for number in range(5)}


def filesystem(url):
    found, name = fsspec.core.url_to_fs(url)
    assert isinstance(found, WandbFileSystem)
    return found, name


@pytest.fixture
def logged(project, folder_of):
    project.log("m", folder_of({"config.json": b'{"a": 1}', **MANY}))
    project.forget()
    return project


def test_ls_info_and_find_tell_what_the_manifest_does(logged):
    found, name = filesystem(logged.url("m:v0"))
    assert [one["type"] for one in found.ls(name)] == ["directory", "file"]
    assert found.ls(f"{name}/checkpoint-400", detail=False) == [f"{name}/{path}" for path in sorted(MANY)]
    assert found.find(name) == sorted(f"{name}/{path}" for path in ("config.json", *MANY))
    about = found.info(f"{name}/config.json")
    assert (about["size"], about["type"], len(about["digest"])) == (8, "file", 24)
    assert found.info(f"{name}/checkpoint-400")["type"] == "directory"
    assert found.isdir(name)
    assert not found.exists(f"{name}/nope")
    assert logged.asked().count("manifest") == 1
    assert "file" not in logged.asked()


def test_a_file_is_read_in_ranges_and_no_more_of_it_comes(logged):
    found, name = filesystem(logged.url("m:v0"))
    assert found.cat_file(f"{name}/checkpoint-400/part-3.bin", 10, 30) == b"\3" * 20
    assert found.cat_file(f"{name}/config.json", -3) == b" 1}"
    assert found.cat(f"{name}/config.json") == b'{"a": 1}'
    with fsspec.open(logged.url("m:v0/config.json"), "rb") as file:
        file.seek(1)
        assert file.read(3) == b'"a"'
    ranges = [request.range for request in logged.server.requests if request.kind == "file"]
    assert ranges[:2] == ["bytes=10-29", "bytes=5-7"]


def test_nothing_is_written_through_it(logged):
    with pytest.raises(NotImplementedError, match="read only"):
        fsspec.open(logged.url("m:v0/new.bin"), "wb").open()


def test_a_listing_is_of_one_version_though_the_alias_moves(project, folder_of):
    project.log("m", folder_of({"a.bin": b"old"}))
    files = list_files(project.url("m:latest"))
    project.log("m", folder_of({"a.bin": b"new"}))
    assert files.read("a.bin") == b"old"
    assert list_files(project.url("m:latest")).read("a.bin") == b"new"


@pytest.mark.parametrize("algorithm", ["MD5", "XXH128"])
def test_versions_of_equal_size_are_never_mixed_up(project, folder_of, algorithm):
    for number in (1, 2):
        project.log("m", folder_of({"model.safetensors": safetensors(number)}), digest_algorithm=algorithm)
    for number in (1, 2, 1):
        checkpoint = load(project.url(f"m:v{number - 1}"))
        assert bytes(checkpoint.read("model", "w"))[:4] == safetensors(number)[-4:]


@pytest.mark.parametrize("ref", ["m:latest/checkpoint-400", "m:latest#checkpoint-400", "m:v0"])
def test_looking_into_a_large_artifact_costs_kilobytes_and_under_twelve_requests(project, folder_of, command, ref):
    large = {"checkpoint-400/model.safetensors": safetensors(1, megabytes=32)}
    project.log("m", folder_of(trainer_step(400) | large))
    project.forget()
    code, out, _ = command("inspect", project.url(ref))
    assert code == 0
    assert "step 400" in out or "1 checkpoint" in out
    asked = [request for request in project.server.requests if request.kind != "other"]
    assert len(asked) < 12
    assert sum(request.sent for request in asked) < 1 << 17


def test_looking_into_an_artifact_of_a_gigabyte_costs_no_more(project, folder_of, command):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 28], "data_offsets": [0, 1 << 30]}}).encode()
    stored = len(header).to_bytes(8, "little") + header
    project.log("m", folder_of({"model.safetensors": stored}))
    records = project.server.records
    (artifact,) = records.artifacts.values()
    os.truncate(records.blob_of(records.entries(artifact)["model.safetensors"]), len(stored) + (1 << 30))
    manifest = json.loads(records.manifest_file(artifact["manifest"]).read_bytes())
    manifest["contents"]["model.safetensors"]["size"] = len(stored) + (1 << 30)
    records.manifest_file(artifact["manifest"]).write_text(json.dumps(manifest))
    project.forget()
    code, out, _ = command("inspect", project.url("m:v0"))
    assert code == 0
    assert "1.0 GiB" in out
    asked = [request for request in project.server.requests if request.kind != "other"]
    assert len(asked) < 12
    assert sum(request.sent for request in asked) < 1 << 20


def test_a_url_that_expired_is_asked_for_again_by_name(project, folder_of):
    data = safetensors(1, megabytes=4)
    project.log("m", folder_of({"model.safetensors": data}))
    files = list_files(project.url("m:v0"))
    assert files.read("model.safetensors", 0, 10) == data[:10]
    project.server.expire_urls()
    project.forget()
    assert files.read("model.safetensors", 1 << 20, 1 << 20) == data[1 << 20 : 2 << 20]
    assert 403 in [request.status for request in project.server.requests]
    assert files.read("model.safetensors") == data


def test_a_url_that_expires_in_the_middle_of_a_file_costs_no_byte(project, folder_of):
    data = safetensors(1, megabytes=4)
    project.log("m", folder_of({"model.safetensors": data}))
    files = list_files(project.url("m:v0"))
    project.server.faults.add("cut", "file", times=1)
    project.server.faults.add("expire", "file", skip=1, times=1)
    assert files.read("model.safetensors") == data
    assert 403 in [request.status for request in project.server.requests]


def test_a_server_that_refuses_every_url_is_an_error_without_its_address(project, folder_of, monkeypatch):
    project.log("m", folder_of({"model.safetensors": safetensors(1)}))
    project.server.faults.add("403", "file")
    with pytest.raises(NoAnswerError) as raised:
        list_files(project.url("m:v0")).read("model.safetensors")
    assert str(raised.value).startswith(project.url("m:v0"))
    assert "signature" not in repr(raised.value)


def test_wrong_bytes_of_the_right_size_are_found_by_the_seal(project, folder_of, tmp_path):
    from ckpt_core import seal

    folder = folder_of({"model.safetensors": safetensors(1)})
    seal(str(folder))
    project.log("m", folder)
    assert verify(project.url("m:v0"), depth=Depth.BYTES).report.ok
    project.server.faults.add("flip", "file", name="model", skip=1)
    assert not verify(project.url("m:v0"), depth=Depth.BYTES).report.ok


@pytest.mark.parametrize("algorithm", ["MD5", "XXH128"])
def test_verify_holds_every_byte_against_the_manifest(project, folder_of, algorithm):
    project.log("m", folder_of(trainer_step(400)), digest_algorithm=algorithm)
    for place in ("m:v0/checkpoint-400", "m:v0/checkpoint-400/model.safetensors"):
        report = verify(project.url(place), depth=Depth.BYTES).report
        assert [finding.code for finding in report.findings if finding.code.startswith("WB")] == []
        project.server.faults.add("flip", "file", name="model", skip=1)
        report = verify(project.url(place), depth=Depth.BYTES).report
        assert "WB001" in [finding.code for finding in report.findings]
        project.server.faults.clear()


def test_names_that_leave_the_folder_are_skipped_and_said(project, folder_of):
    project.log("m", folder_of({"model.safetensors": safetensors(1)}))
    rename(project, "model.safetensors", "../../escaped.safetensors")
    files = list_files(project.url("m:v0"))
    assert "../../escaped.safetensors" not in files.entries
    assert "leads out of it" in files.skipped["../../escaped.safetensors"]


def rename(project, old, new):
    """Let the manifest of the newest artifact name a file otherwise, as a hostile server could."""
    records = project.server.records
    (artifact,) = [one for one in records.artifacts.values() if one["collection"].startswith(f"{project.name}/")]
    path = records.manifest_file(artifact["manifest"])
    manifest = json.loads(path.read_bytes())
    manifest["contents"][new] = manifest["contents"].pop(old)
    path.write_text(json.dumps(manifest))


def test_a_reference_to_a_web_server_is_followed(project, folder_of):
    data = safetensors(5)
    with range_server(folder_of({"model.safetensors": data})) as stored:
        reference = (f"{stored.url}/model.safetensors", {"checksum": False})
        project.log("m", folder_of({"config.json": b"{}"}), references=[reference])
        files = list_files(project.url("m:v0"))
        assert files.size("model.safetensors") == len(data)
        assert files.read("model.safetensors") == data


def test_a_reference_to_a_file_of_this_machine_is_never_followed(project, folder_of, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("do not read me")
    project.log("m", folder_of({"config.json": b"{}"}), references=[(f"file://{secret}", {})])
    files = list_files(project.url("m:v0"))
    assert "secret.txt" in files.entries
    with pytest.raises(UnsafeContentError, match="a reference to file, which is not followed"):
        files.read("secret.txt")


def test_no_private_attribute_of_the_client_is_touched():
    """What the client does not promise may be another thing tomorrow."""
    for source in Path(ckpt_wandb.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
                assert isinstance(node.value, ast.Name | ast.Call), f"{source.name}:{node.lineno} {node.attr}"
                owner = node.value.id if isinstance(node.value, ast.Name) else node.value.func.id
                assert owner in ("self", "cls", "super"), f"{source.name}:{node.lineno} {node.attr}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "wandb":
                assert node.module == "wandb", f"{source.name}:{node.lineno} {node.module}"
