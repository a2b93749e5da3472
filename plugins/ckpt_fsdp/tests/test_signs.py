"""The sign of a layout, by which detection leaves its rules alone: a directory without one is never that layout."""

import re
import tempfile
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
from ckpt_fsdp import plugin
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core

LAYOUTS = plugin._LAYOUTS.layouts
PACKAGES = [layout.package for layout in LAYOUTS.values()]
ASCII = st.characters(codec="ascii", exclude_categories=["Cc"])
ROOTS = st.sampled_from(["", "0000400/", "step=1.ckpt/", "global_step4/", "optimizer_0/", "sharded/", "model_sharded/"])
GIVEN = [
    *(".metadata", "__0.metadata", ".metadata.tmp", "__0_0.distcp", "meta.pt", "metadata.json", "data_status.pt"),
    *("shard-00001-model-00001-of-00001.safetensors", "model-00001-of-00001.safetensors", "model.safetensors"),
    *("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt", "zero/layer.w/fp32.pt", "latest"),
    *("layer_0-model_00-model_states.pt", "latest_universal", "zero_to_fp32.py", "offloaded_tensors/0.pt"),
    *("pytorch_model_fsdp.bin", "pytorch_model_fsdp_rank0.bin", "pytorch_model_fsdp_0_rank0.bin", "optimizer.bin"),
    *("pytorch_model_fsdp_0/.metadata", "scheduler.bin", "scheduler.pt", "random_states_0.pkl", "trainer_state.json"),
    *("model_world_size_2_rank_0.pt", "model_rank00000.pt", "optimizer_rank00000_of00002.pt", "model.pt"),
    *("optimizer.00000-of-00002.pt", "ema.safetensors", "model_full.safetensors"),
]


def patterns():
    """Every pattern that detection matches names with."""
    kinds = [(package, kind) for package in PACKAGES for kind in ("names", "detection")]
    found = [import_module(f"{package}.{kind}") for package, kind in kinds if has(package, kind)]
    return [value for module in found for value in vars(module).values() if isinstance(value, re.Pattern)]


def has(package, kind):
    return find_spec(f"{package}.{kind}") is not None


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
