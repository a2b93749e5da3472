"""The torch format passes the conformance kit in both layouts; samples are written by torch.save."""

from pathlib import Path

import torch

from ckpt_core.testing import FormatTests, Sample, as_torch


class TestZip(FormatTests):
    format = "torch"
    has_checksums = True
    keeps_column_major = True
    plugin_module = "ckpt_core.builtin.torch"

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "x.pth"
        torch.save(as_torch(sample), place)
        return place


class TestLegacy(FormatTests):
    format = "torch"
    keeps_column_major = True

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "x.pt"
        torch.save(as_torch(sample), place, _use_new_zipfile_serialization=False)
        return place
