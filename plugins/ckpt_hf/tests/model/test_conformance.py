"""The kit that every format must pass: directories that safetensors and torch wrote, and what the plugin writes."""

import json
from collections.abc import Mapping
from pathlib import Path

from ckpt_core import DType
from ckpt_core.testing import FormatTests, Sample, as_torch
from ckpt_core.testing.samples import BYTE_DTYPES


class TestSafetensors(FormatTests):
    format = "hf"
    plugin_module = "ckpt_hf.plugin"
    dtypes = tuple(dtype for dtype in BYTE_DTYPES if dtype is not DType.C128)

    def write(self, folder: Path, sample: Sample) -> Path:
        from safetensors.torch import save_file

        save_file(as_torch(sample), folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text('{"model_type": "llama"}')
        return folder


class TestShards(TestSafetensors):
    """Every tensor in a shard of its own, as far as it has any bytes."""

    save_options: Mapping[str, str] = {"max_shard_size": "1"}

    def write(self, folder: Path, sample: Sample) -> Path:
        from safetensors.torch import save_file

        weight_map = {}
        for number, (name, tensor) in enumerate(as_torch(sample).items(), 1):
            weight_map[name] = f"model-{number:05d}-of-{len(sample.tensors):05d}.safetensors"
            save_file({name: tensor}, folder / weight_map[name], {"format": "pt"})
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        return folder


class TestBin(FormatTests):
    format = "hf"
    save_options: Mapping[str, str] = {"weights": "bin"}

    def write(self, folder: Path, sample: Sample) -> Path:
        import torch

        torch.save(as_torch(sample), folder / "pytorch_model.bin")
        return folder


class TestBinShards(TestBin):
    save_options: Mapping[str, str] = {"weights": "bin", "max_shard_size": "2KB"}
