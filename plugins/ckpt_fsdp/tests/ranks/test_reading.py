"""Rank files that FSDP wrote on four ranks, against what torch itself gathered of the same tensors."""

import subprocess
import sys

import pytest
import torch

import ckpt_core


@pytest.fixture(scope="session")
def saves(made):
    return made("ranks_save.py", 4)


def tensors_of(value, path=""):
    """The tensors of a nested state by dotted path."""
    if isinstance(value, torch.Tensor):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = {}
    for key, item in items:
        found |= tensors_of(item, f"{path}.{key}" if path else str(key))
    return found


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


FOLDERS = {"fsdp1": "global_step_20/actor", "fsdp2": "fsdp2", "hsdp": "hsdp", "tp": "tp", "accelerate": "accelerate"}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_tensor_is_what_torch_gathers(saves, name):
    checkpoint = ckpt_core.load(str(saves / FOLDERS[name]))
    full = torch.load(saves / f"{name}.full.pt", weights_only=True)
    for kind, expected in full.items():
        assert_equal(checkpoint.to_torch(kind), tensors_of(expected))


@pytest.mark.parametrize("name", FOLDERS)
def test_nothing_is_wrong_with_them(saves, name):
    report = ckpt_core.verify(str(saves / FOLDERS[name]), depth=ckpt_core.Depth.BYTES).report
    assert [finding.message for finding in report.findings] == []


@pytest.mark.parametrize("name", ["fsdp1", "fsdp2"])
def test_the_state_of_the_optimizer_keeps_the_keys_of_its_tool(saves, name):
    state = ckpt_core.load(str(saves / FOLDERS[name])).component("optimizer").state
    full = torch.load(saves / f"{name}.full.pt", weights_only=True)["optimizer"]
    assert state["state"].keys() == full["state"].keys()
    key = next(iter(full["state"]))
    assert state["state"][key]["exp_avg"] == ckpt_core.TensorRef(f"state.{key}.exp_avg")
    (group,) = state["param_groups"]
    assert group["lr"] == full["param_groups"][0]["lr"]
    assert list(group["params"]) == full["param_groups"][0]["params"]


def test_uneven_rows_are_where_the_ranks_have_them(saves):
    entry = ckpt_core.load(str(saves / "fsdp2")).component("model").tensors["embed.weight"]
    assert entry.shape == (7, 6)
    assert [(c.offsets, c.sizes, c.owner) for c in entry.chunks] == [
        ((0, 0), (2, 6), 0),
        ((2, 0), (2, 6), 1),
        ((4, 0), (2, 6), 2),
        ((6, 0), (1, 6), 3),
    ]


def test_replicas_of_hybrid_sharding_are_equal_boxes(saves):
    entry = ckpt_core.load(str(saves / "hsdp")).component("model").tensors["embed.weight"]
    boxes = [(chunk.offsets, chunk.sizes) for chunk in entry.chunks]
    assert boxes == [((0, 0), (4, 6)), ((4, 0), (3, 6))] * 2


def test_random_numbers_of_each_rank_are_a_component(saves):
    checkpoint = ckpt_core.load(str(saves / "fsdp2"))
    labels = [component.label for component in checkpoint.manifest.components]
    assert labels == ["model", "optimizer", "scheduler", "rng:0", "rng:1", "rng:2", "rng:3"]
    for rank in range(4):
        extra = torch.load(saves / "fsdp2" / f"extra_state_world_size_4_rank_{rank}.pt", weights_only=False)
        assert torch.equal(checkpoint.to_torch(f"rng:{rank}")["cpu"], extra["rng"]["cpu"])
        assert checkpoint.component(f"rng:{rank}").state["random"] == extra["rng"]["random"]
    assert checkpoint.component("scheduler").state["last_epoch"] == extra["lr_scheduler"]["last_epoch"]


def test_they_become_one_file_that_torch_opens(saves, tmp_path):
    from safetensors.torch import load_file

    done = subprocess.run(
        [sys.executable, "-m", "ckpt_core.cli.main", "convert", saves / "tp", tmp_path / "whole.safetensors"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_equal(load_file(tmp_path / "whole.safetensors"), torch.load(saves / "tp.full.pt")["model"])


def test_a_step_directory_holds_one_checkpoint_with_its_step(saves):
    checkpoint = ckpt_core.load(str(saves / "global_step_20"))
    assert (checkpoint.match.format, checkpoint.match.step) == ("fsdp-ranks", 20)
    assert [asset.path for asset in checkpoint.manifest.assets] == ["fsdp_config.json", "huggingface/config.json"]
    assert checkpoint.match.evidence == "files of 4 of 4 ranks: model_world_size_4_rank_0.pt, …"


def test_reading_them_imports_no_torch(saves):
    code = (
        "import sys, ckpt_core; c = ckpt_core.load(sys.argv[1]); c.read('model', 'up.weight')\n"
        "ckpt_core.verify(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, saves / "hsdp"], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
