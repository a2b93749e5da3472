"""The sign of a layout, by which detection leaves its rules alone: a directory without one is never that layout."""

import re
from importlib import import_module

from ckpt_hf import plugin

import ckpt_core
from ckpt_core.testing import LayoutSignTests

PACKAGES = sorted(layout.package for layout in plugin._LAYOUTS.layouts.values())


class TestSigns(LayoutSignTests):
    table = plugin._LAYOUTS
    roots = ("", "checkpoint-4/", "step=1.ckpt/", "dylo_moe_state/", "expert_0/", "unet/", "peft/default/")
    names = (
        *("config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "ema.safetensors"),
        *("model-00001-of-00002.safetensors", "model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
        *("optimizer.bin", "optimizer.pt", "scheduler.bin", "scheduler.pt", "sampler.bin", "random_states_0.pkl"),
        *("trainer_state.json", "training_args.bin", "rng_state.pth", "training_state.pt", "adapter_config.json"),
        *(
            "adapter_model.safetensors",
            "pytorch_lora_weights.safetensors",
            "model_index.json",
            "router.pt",
            "last.ckpt",
        ),
        *("peft_adapters/expert_0.pt", "custom_checkpoint_0.pkl", "optimizer_0/__0_0.distcp", "global_step4/latest"),
    )

    def patterns(self):
        modules = [import_module(f"{package}.detection") for package in PACKAGES] + [import_module("ckpt_hf.names")]
        return [value for module in modules for value in vars(module).values() if isinstance(value, re.Pattern)]


def test_every_format_is_a_layout():
    assert plugin._LAYOUTS.layouts.keys() == {format.name for format in plugin.formats()}


def test_a_pipeline_is_found_whose_index_is_a_link_to_nothing(tmp_path):
    (tmp_path / "model_index.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "text_encoder").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "text_encoder" / name).write_bytes(b"")
    (pipeline,) = [found for found in plugin.detect_format(ckpt_core.list_files(str(tmp_path))) if not found.root]
    assert pipeline.format == "diffusers"
