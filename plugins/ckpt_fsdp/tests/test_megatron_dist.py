"""Megatron's distributed checkpoints: DCP's tensors, and what all ranks have alike beside them."""

import argparse
import json

import pytest
import torch
import torch.distributed.checkpoint as dcp

import ckpt_core

TENSORS = {"decoder.layers.weight": torch.arange(12.0).reshape(3, 4), "embedding.weight": torch.ones(5, 4)}


pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is:UserWarning")


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "run" / "iter_0000300"
    moments = {f"optimizer.state.exp_avg.{name}": tensor * 2 for name, tensor in TENSORS.items()}
    dcp.save({**TENSORS, **moments}, checkpoint_id=folder, no_dist=True)
    (folder / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist", "sharded_backend_version": 1}))
    args = argparse.Namespace(tensor_model_parallel_size=2)
    common = {"args": args, "iteration": 300, "opt_param_scheduler": {"num_steps": 300}}
    torch.save({**common, "optimizer": {"param_groups": [{"lr": 0.1}]}}, folder / "common.pt")
    (tmp_path / "run" / "latest_checkpointed_iteration.txt").write_text("300")
    return folder


def errors(place):
    found = ckpt_core.verify(str(place), depth=ckpt_core.Depth.BYTES).report.findings
    return {f.code for f in found if f.severity is ckpt_core.Severity.ERROR}


def test_model_optimizer_and_common_state_are_components(saved):
    checkpoint = ckpt_core.load(str(saved.parent))
    assert (checkpoint.match.format, checkpoint.manifest.step) == ("megatron-dist", 300)
    labels = {component.label for component in checkpoint.manifest.components}
    assert labels >= {"model", "optimizer", "scheduler", "config", "progress"}
    found = checkpoint.to_torch("model")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert errors(saved) == set()


def test_a_lost_common_state_is_an_error_and_the_model_is_converted(saved, tmp_path):
    (saved / "common.pt").unlink()
    assert errors(saved) == {"PT002"}
    ckpt_core.convert(str(saved), str(tmp_path / "model.safetensors"), components=["model"])


def test_a_lost_shard_is_an_error(saved):
    next(saved.glob("*.distcp")).unlink()
    assert errors(saved)


def test_a_flipped_bit_is_found(saved):
    shard = next(saved.glob("*.distcp"))
    data = bytearray(shard.read_bytes())
    at = data.find(torch.arange(12.0).numpy().tobytes())
    data[at + 5] ^= 1
    shard.write_bytes(bytes(data))
    assert errors(saved)


@pytest.mark.parametrize("backend", ["zarr", "fsdp_dtensor_x", "other"])
def test_a_backend_that_is_not_read_is_named(tmp_path, backend):
    (tmp_path / "metadata.json").write_text(json.dumps({"sharded_backend": backend}))
    (tmp_path / "weight").mkdir()
    (tmp_path / "weight" / "0.0").write_bytes(b"x")
    with pytest.raises(ckpt_core.UnsupportedFormatError, match=backend):
        ckpt_core.load(str(tmp_path))
