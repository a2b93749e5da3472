"""The safetensors format passes the conformance kit; samples are written by the safetensors library."""

from pathlib import Path

from safetensors.torch import save_file

from ckpt_core import DType
from ckpt_core.testing import FormatTests, Sample, as_torch
from ckpt_core.testing.samples import BYTE_DTYPES


class TestSafetensors(FormatTests):
    format = "safetensors"
    plugin_module = "ckpt_core.builtin.safetensors"
    dtypes = tuple(dtype for dtype in BYTE_DTYPES if dtype is not DType.C128)

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "x.safetensors"
        save_file(as_torch(sample), place, {"format": "pt"})
        return place
