"""The kit that every format must pass, over directories as DeepSpeed writes them without ZeRO."""

from pathlib import Path

import torch

from ckpt_core.testing import FormatTests, Sample, as_torch


class TestDeepSpeed(FormatTests):
    format = "deepspeed"
    plugin_module = "ckpt_fsdp.plugin"

    def write(self, folder: Path, sample: Sample) -> Path:
        (folder / "global_step1").mkdir()
        states = {"module": as_torch(sample), "dp_world_size": 1, "mp_world_size": 1, "global_steps": 1}
        torch.save(states, folder / "global_step1" / "mp_rank_00_model_states.pt")
        (folder / "latest").write_text("global_step1")
        return folder
