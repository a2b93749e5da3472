"""BAGEL's four training directories, against what torch gathered of the same weights."""

import json
import shutil

import pytest
import torch

import ckpt_core
from ckpt_core import Confidence, TensorRef

KINDS = ["dcp", "ranks", "fsdp2", "upstream"]


@pytest.fixture(scope="session")
def saves(made):
    return made("bagel_save.py", 2)


def opened(saves, name):
    return ckpt_core.load(str(saves / name / "0000400"))


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("name", KINDS)
def test_weights_and_ema_are_what_was_saved_as_each(saves, name):
    checkpoint = opened(saves, name)
    full = torch.load(saves / f"{name}.full.pt", weights_only=True)
    for kind in ("model", "ema"):
        assert_equal(checkpoint.to_torch(kind), full[kind])
    assert not torch.equal(full["model"]["embed.weight"], full["ema"]["embed.weight"])


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_wrong_with_them(saves, name):
    report = ckpt_core.verify(str(saves / name), depth=ckpt_core.Depth.BYTES).report
    assert {finding.code for finding in report.findings} <= {"BG003"}
    assert report.ok


@pytest.mark.parametrize("name", ["dcp", "fsdp2"])
def test_the_optimizer_is_joined_where_it_says_how(saves, name):
    checkpoint = opened(saves, name)
    full = torch.load(saves / f"{name}.full.pt", weights_only=True)["optimizer"]
    expected = {
        f"state.{key}.{field}": value for key, fields in full["state"].items() for field, value in fields.items()
    }
    assert_equal(checkpoint.to_torch("optimizer"), expected)
    key = next(iter(full["state"]))
    assert checkpoint.component("optimizer").state["state"][key]["exp_avg"] == TensorRef(f"state.{key}.exp_avg")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("ranks", ["optimizer:00000", "optimizer:00001"]),
        ("upstream", ["optimizer:00000-of-00002", "optimizer:00001-of-00002"]),
    ],
)
def test_flat_optimizers_are_kept_as_parts_and_it_is_said_why(saves, name, labels):
    checkpoint = opened(saves, name)
    found = [component.label for component in checkpoint.manifest.components if component.kind == "optimizer"]
    assert found == labels
    (note,) = [finding for finding in checkpoint.manifest.findings if finding.code == "BG003"]
    assert "where each weight starts in them, no file says" in note.message
    path = sorted((saves / name / "0000400").glob("optimizer*.pt"))[1]
    saved = torch.load(path, weights_only=True)["state"][0]["exp_avg"]
    assert torch.equal(checkpoint.to_torch(labels[1])["state.0.exp_avg"], saved)


@pytest.mark.parametrize("name", KINDS)
def test_data_positions_scheduler_and_step_are_components(saves, name):
    checkpoint = opened(saves, name)
    assert checkpoint.component("sampler").state == [{"t2i": {0: [rank, 3, 17]}} for rank in range(2)]
    assert checkpoint.component("scheduler").state["last_epoch"] == 0
    assert checkpoint.component("progress").state["train_steps"] == 400
    assert checkpoint.match.step == 400
    roles = {role.label: role.presence for role in checkpoint.manifest.roles}
    derived = name in ("fsdp2", "upstream")
    assert roles["progress"] is (ckpt_core.Presence.DERIVED if derived else ckpt_core.Presence.PRESENT)


EVIDENCE = {
    "dcp": (Confidence.CERTAIN, 'metadata.json with checkpoint_type "sharded"'),
    "ranks": (Confidence.CERTAIN, 'metadata.json with checkpoint_type "sharded"'),
    "fsdp2": (Confidence.CERTAIN, "optimizer_rank00000_of00002.pt beside weights"),
    "upstream": (Confidence.CERTAIN, "optimizer.00000-of-00002.pt beside weights"),
}


def detected(folder):
    files = ckpt_core.list_files(str(folder))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


@pytest.mark.parametrize("name", KINDS)
def test_each_is_certain_and_no_other_format_claims_it_as_surely(saves, name):
    found = detected(saves / name / "0000400")
    assert (found.best.format, found.rivals) == ("bagel", ())
    assert (found.best.confidence, found.best.evidence) == EVIDENCE[name]
    at_root = [match for match in found.matches if not match.root and match.format != "bagel"]
    assert all(match.confidence < Confidence.CERTAIN for match in at_root)


def test_steps_of_a_run_are_numbers_and_other_folders_are_not_taken_for_them(saves, tmp_path):
    run = tmp_path / "checkpoints"
    shutil.copytree(saves / "upstream" / "0000400", run / "0000400")
    shutil.copytree(saves / "upstream" / "0000400", run / "0001000")
    (run / "hf_0000006").mkdir()
    (run / "hf_0000006" / "config.json").write_text("{}")
    (run / ".ipynb_checkpoints").mkdir()
    (run / ".ipynb_checkpoints" / "notes.json").write_text("{}")
    steps = {match.root: match.step for match in detected(run).members if match.format == "bagel"}
    assert steps == {"0000400": 400, "0001000": 1000}


LOOKALIKES = {
    "of Megatron": {"metadata.json": '{"sharded_backend": "torch_dist", "sharded_backend_version": 1}'},
    "of another tool": {"metadata.json": '{"checkpoint_type": "full"}'},
    "that is no object": {"metadata.json": "[1, 2]"},
    "that is cut": {"metadata.json": '{"checkpoint_type": "shar'},
    "of a model": {"config.json": "{}", "model.safetensors": "x"},
    "of a Trainer": {"optimizer.pt": "x", "scheduler.pt": "x", "model.safetensors": "x", "trainer_state.json": "{}"},
    "with nothing but a scheduler": {"scheduler.pt": "x"},
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_directory_is_not_claimed(tmp_path, name):
    for path, content in LOOKALIKES[name].items():
        (tmp_path / path).write_text(content)
    assert [match for match in detected(tmp_path).matches if match.format == "bagel"] == []


def test_a_directory_of_dcp_alone_is_that_formats(saves):
    assert detected(saves / "dcp" / "0000400" / "model_sharded").best.format == "dcp"


def test_one_file_of_weights_beside_the_data_positions_is_a_training_directory(saves, copy_of):
    folder = copy_of(saves / "upstream" / "0000400", "0000400")
    full = torch.load(saves / "upstream.full.pt", weights_only=True)
    (folder / "model.safetensors").unlink()
    torch.save(full["model"], folder / "model.pt")
    checkpoint = ckpt_core.load(str(folder))
    assert checkpoint.match.format == "bagel"
    assert_equal(checkpoint.to_torch("model"), full["model"])


def test_a_rank_directory_without_its_metadata_is_still_read(saves, copy_of):
    folder = copy_of(saves / "ranks" / "0000400", "0000400")
    (folder / "metadata.json").unlink()
    checkpoint = ckpt_core.load(str(folder))
    assert (checkpoint.match.format, checkpoint.match.confidence) == ("bagel", Confidence.LIKELY)
    assert_equal(checkpoint.to_torch("ema"), torch.load(saves / "ranks.full.pt", weights_only=True)["ema"])
    assert checkpoint.component("progress").state == {"train_steps": 400}


def test_the_model_becomes_a_file_from_its_shards(saves, tmp_path):
    from safetensors.torch import load_file

    for kind in ("model", "ema"):
        target = tmp_path / f"{kind}.safetensors"
        ckpt_core.save(opened(saves, "dcp").to_torch(kind), str(target))
        assert_equal(load_file(target), torch.load(saves / "dcp.full.pt", weights_only=True)[kind])


def test_nothing_of_metadata_is_lost(saves):
    saved = json.loads((saves / "dcp" / "0000400" / "metadata.json").read_text())
    assert opened(saves, "dcp").component("progress").state == saved
