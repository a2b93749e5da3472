"""The bundle format passes the conformance kit; samples are written by the safetensors library and json."""

import json
from pathlib import Path

from safetensors.torch import save_file

from ckpt_core import DType
from ckpt_core.testing import FormatTests, Sample, as_torch
from ckpt_core.testing.samples import BYTE_DTYPES


class TestBundle(FormatTests):
    format = "bundle"
    plugin_module = "ckpt_core.builtin.bundle.plugin"
    dtypes = tuple(dtype for dtype in BYTE_DTYPES if dtype is not DType.C128)

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "checkpoint"
        place.mkdir()
        save_file(as_torch(sample), place / "model.safetensors", {"format": "pt"})
        components = {"model": {"tensors": "model.safetensors"}}
        index = {"format": "ckpt-bundle", "version": 1, "components": components}
        (place / "bundle.json").write_text(json.dumps(index))
        return place

    def second_name(self, place: Path) -> str:
        return "checkpoint-second"


class TestBundleOfAnAverage(TestBundle):
    component = "ema"

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "checkpoint"
        place.mkdir()
        save_file(as_torch(sample), place / "average.safetensors")
        index = {"components": {"ema": {"tensors": "average.safetensors"}}, "version": 1, "format": "ckpt-bundle"}
        (place / "bundle.json").write_text(json.dumps(index, indent=2))
        return place
