"""The kit that every format must pass: directories that stock torch.distributed.checkpoint saves, flat and nested."""

import warnings
from pathlib import Path
from typing import ClassVar

from ckpt_core.testing import FormatTests, Sample, as_torch
from ckpt_core.testing.samples import BYTE_DTYPES


class TestDcp(FormatTests):
    format = "dcp"
    plugin_module = "ckpt_fsdp.plugin"
    dtypes = BYTE_DTYPES
    keeps_ties = False
    keeps_column_major = True
    has_checksums = True

    def write(self, folder: Path, sample: Sample) -> Path:
        import torch.distributed.checkpoint as dcp

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save(self.state(sample), checkpoint_id=folder, no_dist=True)
        return folder

    def state(self, sample: Sample) -> dict[str, object]:
        return dict(as_torch(sample))


class TestNested(TestDcp):
    """Under `model`, as trainers save it."""

    def state(self, sample: Sample) -> dict[str, object]:
        return {"model": as_torch(sample)}


class TestSpread(TestDcp):
    """Written over the files of three ranks."""

    save_options: ClassVar = {"ranks": 3}


class TestFlat(TestDcp):
    """Written without `model.` before the keys."""

    save_options: ClassVar = {"flat": True, "ranks": 2}
