"""The kit that every format must pass: samples that torch's own writers laid out as Accelerate and Lightning do."""

from pathlib import Path

import pytest

from ckpt_core import DType
from ckpt_core.testing import FormatTests, Sample, as_torch
from ckpt_core.testing.samples import BYTE_DTYPES


def save_dcp(state, folder):
    import torch.distributed.checkpoint as dcp

    with pytest.warns(UserWarning, match="in a single process"):
        dcp.save(state, checkpoint_id=folder, no_dist=True)


class TestShardsOfSafetensors(FormatTests):
    format = "dcp-safetensors"
    plugin_module = "ckpt_fsdp.plugin"
    dtypes = tuple(dtype for dtype in BYTE_DTYPES if dtype is not DType.C128)

    def write(self, folder: Path, sample: Sample) -> Path:
        import torch.distributed.checkpoint as dcp

        writer = dcp.HuggingFaceStorageWriter(str(folder / "x"), save_distributed=True)
        with pytest.warns(UserWarning, match="in a single process"):
            dcp.save(as_torch(sample), storage_writer=writer, no_dist=True)
        return folder / "x"


class TestAccelerate(FormatTests):
    format = "fsdp"

    def write(self, folder: Path, sample: Sample) -> Path:
        import torch

        save_dcp({"model": as_torch(sample)}, folder / "x" / "pytorch_model_fsdp_0")
        save_dcp({"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, folder / "x" / "optimizer_0")
        torch.save({"step": 0}, folder / "x" / "random_states_0.pkl")
        return folder / "x"


class TestAccelerateWhole(FormatTests):
    format = "fsdp"

    def write(self, folder: Path, sample: Sample) -> Path:
        import torch

        torch.save(as_torch(sample), folder / "pytorch_model_fsdp.bin")
        return folder


class TestLightning(FormatTests):
    format = "lightning-fsdp"

    def write(self, folder: Path, sample: Sample) -> Path:
        import torch

        save_dcp({"model": as_torch(sample)}, folder / "x.ckpt")
        torch.save({"epoch": 0, "global_step": 1}, folder / "x.ckpt" / "meta.pt")
        return folder / "x.ckpt"
