"""The sign of a layout, by which detection leaves its rules alone: a directory without one is never that layout."""

import re
import tempfile
from collections import Counter
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest
from ckpt_hf import plugin
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core

LAYOUTS = plugin._LAYOUTS.layouts
PACKAGES = [layout.package for layout in LAYOUTS.values()]
ASCII = st.characters(codec="ascii", exclude_categories=["Cc"])
ROOTS = st.sampled_from(["", "checkpoint-4/", "step=1.ckpt/", "dylo_moe_state/", "expert_0/", "unet/", "peft/default/"])
GIVEN = [
    *("config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "ema.safetensors"),
    *("model-00001-of-00002.safetensors", "model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    *("optimizer.bin", "optimizer.pt", "scheduler.bin", "scheduler.pt", "sampler.bin", "random_states_0.pkl"),
    *("trainer_state.json", "training_args.bin", "rng_state.pth", "training_state.pt", "adapter_config.json"),
    *("adapter_model.safetensors", "pytorch_lora_weights.safetensors", "model_index.json", "router.pt", "last.ckpt"),
    *("peft_adapters/expert_0.pt", "custom_checkpoint_0.pkl", "optimizer_0/__0_0.distcp", "global_step4/latest"),
]


def patterns():
    """Every pattern that detection matches names with."""
    packages = sorted(PACKAGES)
    modules = [import_module(f"{package}.detection") for package in packages] + [import_module("ckpt_hf.names")]
    return [value for module in modules for value in vars(module).values() if isinstance(value, re.Pattern)]


def names():
    matched = [st.from_regex(pattern.pattern, fullmatch=True, alphabet=ASCII) for pattern in patterns()]
    name = st.one_of(st.sampled_from(GIVEN), *matched).filter(lambda name: 0 < len(name) < 60 and name.strip("./ "))
    return st.lists(st.tuples(ROOTS, name).map("".join), max_size=8, unique=True)


@pytest.mark.parametrize("format", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(paths=names())
def test_no_layout_is_found_without_its_sign(format, paths):
    without = [path for path in paths if not any(sign in path for sign in LAYOUTS[format].signs)]
    with tempfile.TemporaryDirectory() as folder:
        for path in without:
            write(Path(folder), path)
        found = LAYOUTS[format].module("detection").find(ckpt_core.list_files(folder))
        assert list(found) == []


@settings(max_examples=100, deadline=None)
@given(paths=names(), broken=names())
def test_every_layout_is_asked_that_would_find_one_also_among_broken_links(paths, broken):
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            write(Path(folder), path)
        for path in broken:
            link(Path(folder), path)
        files = ckpt_core.list_files(folder)
        found = [import_module(f"{package}.detection").find(files) for package in PACKAGES]
        assert Counter(plugin.detect_format(files)) == Counter(chain.from_iterable(found))


def test_a_pipeline_is_found_whose_index_is_a_link_to_nothing(tmp_path):
    link(tmp_path, "model_index.json")
    write(tmp_path, "text_encoder/config.json")
    write(tmp_path, "text_encoder/model.safetensors")
    (pipeline,) = [found for found in plugin.detect_format(ckpt_core.list_files(str(tmp_path))) if not found.root]
    assert pipeline.format == "diffusers"


def test_every_layout_has_signs():
    assert all(layout.signs for layout in LAYOUTS.values())
    assert LAYOUTS.keys() == {format.name for format in plugin.formats()}


def write(folder, path):
    place = folder / path
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    except OSError:
        pass  # another path of the listing has a file where this one has a folder


def link(folder, path):
    """A link to nothing, which a listing leaves out."""
    place = folder / path
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(folder / "nothing")
    except OSError:
        pass  # the listing has this path already, or a file where this one has a folder
