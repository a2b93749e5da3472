"""A checkpoint written to memory:// is read back from there, and replaced only by force."""

import fsspec
import pytest
import torch

import ckpt_core
from ckpt_core import Depth

WEIGHTS = {"a.w": torch.randn(300, 40), "b": torch.arange(5)}


@pytest.fixture(autouse=True)
def empty():
    yield
    fsspec.filesystem("memory").store.clear()


def test_a_file_and_its_seal_are_written_and_read():
    report = ckpt_core.save(WEIGHTS, "memory://runs/x.safetensors")
    assert report.location == "memory://runs/x.safetensors"
    assert ckpt_core.load("memory://runs/x.safetensors").to_torch()["a.w"].equal(WEIGHTS["a.w"])
    found = ckpt_core.verify("memory://runs/x.safetensors", depth=Depth.BYTES).report
    assert found.ok and not found.findings, "the seal beside it counts"
    fsspec.filesystem("memory").pipe_file("/runs/x.safetensors.ckpt.json", b"{}")
    assert {f.code for f in ckpt_core.verify("memory://runs/x.safetensors").report.findings} == {"SL005"}


def test_a_directory_is_written_and_read():
    ckpt_core.save(ckpt_core.load(_saved()), "memory://runs/model", format="hf")
    assert ckpt_core.verify("memory://runs/model", depth=Depth.BYTES).report.ok
    assert ckpt_core.diff("memory://runs/model", _saved()).identical


def _saved():
    if not fsspec.filesystem("memory").exists("/source.safetensors"):
        ckpt_core.save(WEIGHTS, "memory://source.safetensors")
    return "memory://source.safetensors"


def test_what_is_there_is_replaced_only_by_force():
    ckpt_core.save(WEIGHTS, "memory://x.pth")
    with pytest.raises(ckpt_core.OverwriteError):
        ckpt_core.save({"c": torch.zeros(1)}, "memory://x.pth")
    assert set(ckpt_core.load("memory://x.pth").component().tensors) == set(WEIGHTS)
    ckpt_core.save({"c": torch.zeros(1)}, "memory://x.pth", force=True)
    assert set(ckpt_core.load("memory://x.pth").component().tensors) == {"c"}
