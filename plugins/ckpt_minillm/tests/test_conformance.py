"""The kit that every format must pass, over samples that torch.save wrote under a name of minimind's."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from ckpt_core import Checkpoint, Component, TensorTable
from ckpt_core.testing import FormatTests, Sample, as_torch

UNTRAINED = {"state": {}, "param_groups": [{"lr": 0.1, "params": []}]}
FIRST_STEP = {"epoch": 0, "step": 1, "world_size": 1, "wandb_id": None}


class TestPlainWeights(FormatTests):
    format = "minillm"
    plugin_module = "ckpt_minillm.plugin"

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "pretrain_512.pth"
        torch.save(as_torch(sample), place)
        return place


class TestResumeFiles(FormatTests):
    """The sample is the model; the optimizer has taken no step yet."""

    format = "minillm-resume"
    plugin_module = "ckpt_minillm.plugin"

    def write(self, folder: Path, sample: Sample) -> Path:
        place = folder / "pretrain_512_resume.pth"
        torch.save({"model": as_torch(sample), "optimizer": UNTRAINED, **FIRST_STEP}, place)
        return place

    def checkpoint(self, sample: Sample, *, ties: Mapping[str, str] | None = None) -> Checkpoint:
        made = super().checkpoint(sample, ties=ties)
        none = TensorTable.of({})
        beside = (Component("optimizer", none, UNTRAINED), Component("progress", none, FIRST_STEP))
        made.manifest = replace(made.manifest, components=(*made.manifest.components, *beside))
        return made

    def save(self, folder: Path, state: Checkpoint | Mapping, *, force: bool = False) -> Path:
        if not isinstance(state, Checkpoint):
            state = {"model": state, "optimizer": UNTRAINED, "progress": FIRST_STEP}
        return super().save(folder, state, force=force)
