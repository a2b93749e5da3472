"""The sign of a layout, by which detection leaves its rules alone: a directory without one is never that layout."""

import re
from importlib import import_module
from importlib.util import find_spec

from ckpt_fsdp import plugin

from ckpt_core.testing import LayoutSignTests

PACKAGES = sorted(layout.package for layout in plugin._LAYOUTS.layouts.values())


class TestSigns(LayoutSignTests):
    table = plugin._LAYOUTS
    roots = ("", "0000400/", "step=1.ckpt/", "global_step4/", "optimizer_0/", "sharded/", "model_sharded/")
    names = (
        *(".metadata", "__0.metadata", ".metadata.tmp", "__0_0.distcp", "meta.pt", "metadata.json", "data_status.pt"),
        *("shard-00001-model-00001-of-00001.safetensors", "model-00001-of-00001.safetensors", "model.safetensors"),
        *("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt", "zero/layer.w/fp32.pt", "latest"),
        *("layer_0-model_00-model_states.pt", "latest_universal", "zero_to_fp32.py", "offloaded_tensors/0.pt"),
        *("pytorch_model_fsdp.bin", "pytorch_model_fsdp_rank0.bin", "pytorch_model_fsdp_0_rank0.bin", "optimizer.bin"),
        *(
            "pytorch_model_fsdp_0/.metadata",
            "scheduler.bin",
            "scheduler.pt",
            "random_states_0.pkl",
            "trainer_state.json",
        ),
        *("model_world_size_2_rank_0.pt", "model_rank00000.pt", "optimizer_rank00000_of00002.pt", "model.pt"),
        *("optimizer.00000-of-00002.pt", "ema.safetensors", "model_full.safetensors"),
    )

    def patterns(self):
        kinds = [(package, kind) for package in PACKAGES for kind in ("names", "detection")]
        found = [import_module(f"{package}.{kind}") for package, kind in kinds if find_spec(f"{package}.{kind}")]
        return [value for module in found for value in vars(module).values() if isinstance(value, re.Pattern)]


def test_every_format_is_a_layout():
    assert plugin._LAYOUTS.layouts.keys() == {format.name for format in plugin.formats()}
