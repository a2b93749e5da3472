"""Numbered files of one folder: shards where they have no tensor in common, checkpoints of their own where they do."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import ckpt_core
from ckpt_core.cli.main import main

LAYERS = {f"layers.{n}.weight": torch.full((2, 3), float(n)) for n in range(6)}


def write(path, tensors):
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)


def split(folder, pattern, parts, start=0, tensors=LAYERS):
    """Save an equal part of the tensors in each file; give the names."""
    names = list(tensors)
    paths = []
    for part in range(parts):
        paths.append(pattern.format(part + start))
        write(folder / paths[-1], {name: tensors[name] for name in names[part::parts]})
    return paths


def members(folder):
    files = ckpt_core.list_files(str(folder))
    found = ckpt_core.get_plugin_manager().hooks.detect_format(files=files)
    return [found.best] if found.best else list(found.members)


def errors(place):
    found = ckpt_core.verify(str(place)).report.findings
    return {(f.code, f.path) for f in found if f.severity is ckpt_core.Severity.ERROR}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


PATTERNS = {
    "from nought": ("part_{}.safetensors", 0),
    "from one": ("weights-{:02d}.safetensors", 1),
    "torch files": ("shard{}.pt", 0),
    "of how many": ("net-{:05d}-of-00003.safetensors", 1),
    "of how many, torch": ("tensors_{}of3.bin", 1),
    "of how many, from nought": ("layers.{}-of-3.pth", 0),
}


@pytest.mark.parametrize(("pattern", "start"), PATTERNS.values(), ids=PATTERNS)
def test_files_without_a_tensor_in_common_are_one_model(tmp_path, pattern, start):
    split(tmp_path, pattern, 3, start)
    (match,) = members(tmp_path)
    assert (match.format, len(match.files)) == ("numbered-shards", 3)
    assert_equal(ckpt_core.load(str(tmp_path)).to_torch("model"), LAYERS)
    assert errors(tmp_path) == set()


@pytest.mark.parametrize(("pattern", "start"), PATTERNS.values(), ids=PATTERNS)
def test_a_gap_is_an_error_in_every_verb(tmp_path, pattern, start, capsys):
    folder = tmp_path / "shards"
    folder.mkdir()
    gone = split(folder, pattern, 3, start)[1]
    (folder / gone).unlink()
    assert errors(folder) == {("PT007", gone)}
    assert main(["verify", str(folder)]) == 4
    assert main(["convert", str(folder), str(tmp_path / "out.safetensors")]) == 4
    assert not (tmp_path / "out.safetensors").exists()
    assert main(["inspect", str(folder)]) == 4
    assert gone in capsys.readouterr().err


@pytest.mark.parametrize("pattern", [name for name, _ in PATTERNS.values() if "of" in name and "3" in name])
def test_a_lost_last_shard_is_an_error_where_names_say_how_many(tmp_path, pattern):
    start = dict(PATTERNS.values())[pattern]
    gone = split(tmp_path, pattern, 3, start)[-1]
    (tmp_path / gone).unlink()
    assert errors(tmp_path) == {("PT007", gone)}


@pytest.mark.parametrize(
    "names", ["part_{}.safetensors", "model{}.pt", "step_{}.pt", "checkpoint-{}.safetensors", "lora_{}.safetensors"]
)
def test_files_with_the_same_tensors_are_checkpoints_of_their_own(tmp_path, names):
    for number in range(3):
        write(tmp_path / names.format(number), LAYERS)
    assert "numbered-shards" not in {match.format for match in members(tmp_path)}
    assert len(members(tmp_path)) == 3


@pytest.mark.parametrize("names", ["step_{}.pt", "epoch{}.safetensors", "checkpoint-{}.pt"])
def test_numbers_of_steps_are_never_those_of_shards(tmp_path, names):
    split(tmp_path, names, 3)
    assert "numbered-shards" not in {match.format for match in members(tmp_path)}


def test_files_that_say_how_many_and_have_the_same_tensors_are_refused(tmp_path):
    for number in (1, 2):
        write(tmp_path / f"mp-{number}-of-2.pt", LAYERS)
    with pytest.raises(ckpt_core.CorruptError) as refused:
        ckpt_core.load(str(tmp_path))
    assert refused.value.code == "PT008"
    assert errors(tmp_path) == {("PT008", "mp-2-of-2.pt")}


def test_a_broken_shard_is_not_called_missing(tmp_path):
    names = split(tmp_path, "part_{}.safetensors", 3)
    path = tmp_path / names[1]
    path.write_bytes(path.read_bytes()[:-4])
    assert [(where, code.startswith("ST")) for code, where in errors(tmp_path)] == [(names[1], True)]


def test_an_index_beside_them_says_what_is_lost(tmp_path):
    names = split(tmp_path, "part_{}.safetensors", 3)
    listed = dict.fromkeys([*LAYERS, "head.weight"], names[0])
    (tmp_path / "part.index.json").write_text(json.dumps({"weight_map": listed}))
    assert errors(tmp_path) == {("PT007", "part.index.json")}


def test_the_shards_of_two_models_in_one_folder_are_two_members(tmp_path):
    for stem in ("unet", "text"):
        tensors = {f"{stem}.{name}": tensor for name, tensor in LAYERS.items()}
        split(tmp_path, stem + "-{}-of-2.safetensors", 2, 1, tensors)
    found = members(tmp_path)
    assert [match.root for match in found] == ["text-1-of-2.safetensors", "unet-1-of-2.safetensors"]
    for match in found:
        assert len(ckpt_core.load(f"{tmp_path}#{match.root}").component("model").tensors) == 6


def test_shards_that_transformers_writes_are_those_of_a_model_directory(tmp_path):
    split(tmp_path, "model-{:05d}-of-00003.safetensors", 3, 1)
    assert {match.format for match in members(tmp_path)} == {"hf"}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=5, max_size=12),
    st.sampled_from(["x{}.safetensors", "p-{:03d}.pt", "w_{}_of_5.safetensors"]),
    st.integers(0, 1),
)
def test_any_split_of_tensors_is_joined_and_a_lost_file_is_an_error(places, pattern, start):
    places = [*range(5), *places]
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        tensors = {f"t.{n}": torch.tensor([float(n)]) for n in range(len(places))}
        for part in range(5):
            inside = {name: tensors[name] for name, place in zip(tensors, places, strict=True) if place == part}
            write(folder / pattern.format(part + start), inside)
        assert_equal(ckpt_core.load(root).to_torch("model"), tensors)
        (folder / pattern.format(2 + start)).unlink()
        assert errors(root) == {("PT007", pattern.format(2 + start))}
