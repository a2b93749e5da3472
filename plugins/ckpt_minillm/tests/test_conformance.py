"""The kit that every format must pass, over samples that torch.save wrote under a name of minimind's."""

from pathlib import Path

import torch

from ckpt_core.testing import FormatTests, Sample, as_torch


class TestPlainWeights(FormatTests):
    format = "minillm"
    plugin_module = "ckpt_minillm.plugin"

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "pretrain_512.pth"
        torch.save(as_torch(sample), place)
        return place
