"""A model directory with averaged weights: beside the model, or in its place, as BAGEL publishes them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core import CorruptError, Depth, UnsafeContentError, UnsupportedFormatError

INDEX = "model.safetensors.index.json"
MAIN = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.weight": torch.ones(4)}
AVERAGE = {name: tensor + 0.5 for name, tensor in MAIN.items()}


@pytest.fixture
def published(tmp_path):
    """A directory as BAGEL's: averaged weights only, and the autoencoder beside them."""
    folder = tmp_path / "published"
    folder.mkdir()
    save_file(AVERAGE, folder / "ema.safetensors", metadata={"format": "pt"})
    save_file({"encoder.weight": torch.ones(3)}, folder / "ae.safetensors")
    for name in ("config.json", "llm_config.json", "vit_config.json"):
        (folder / name).write_text("{}")
    return folder


def write_index(folder, weight_map, name=INDEX, **metadata):
    (folder / name).write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))


def codes(folder, depth=Depth.VALUES):
    return [finding.code for finding in ckpt_core.verify(str(folder), depth=depth).report.findings]


def values(checkpoint, label):
    return {name: tensor.tolist() for name, tensor in checkpoint.to_torch(label).items()}


@pytest.mark.parametrize("index", [None, "ema.safetensors", INDEX])
def test_averaged_weights_alone_are_the_ema_and_no_model(published, index):
    if index:
        name = INDEX if index == INDEX else f"{index}.index.json"
        write_index(published, dict.fromkeys(AVERAGE, "ema.safetensors"), name, total_size=40)
    checkpoint = ckpt_core.load(str(published))
    assert checkpoint.match.format == "hf"
    assert [component.label for component in checkpoint.manifest.components] == ["ema", "config"]
    assert values(checkpoint, "ema") == {name: tensor.tolist() for name, tensor in AVERAGE.items()}
    assert "ae.safetensors" in [asset.path for asset in checkpoint.manifest.assets]
    assert codes(published) == []


def test_model_and_average_are_two_components(published):
    save_file(MAIN, published / "model.safetensors")
    checkpoint = ckpt_core.load(str(published))
    assert [component.label for component in checkpoint.manifest.components] == ["model", "ema", "config"]
    assert values(checkpoint, "model") == {name: tensor.tolist() for name, tensor in MAIN.items()}
    assert values(checkpoint, "ema") == {name: tensor.tolist() for name, tensor in AVERAGE.items()}
    assert codes(published) == []


def test_an_index_that_names_the_autoencoder_too_makes_it_no_part_of_the_ema(published):
    write_index(published, {**dict.fromkeys(AVERAGE, "ema.safetensors"), "encoder.weight": "ae.safetensors"})
    checkpoint = ckpt_core.load(str(published))
    assert set(checkpoint.component("ema").tensors) == set(AVERAGE)
    assert codes(published) == []


def test_an_index_of_weights_that_are_not_there_is_an_error_and_the_ema_is_read(published):
    write_index(published, dict.fromkeys(MAIN, "model-00001-of-00002.safetensors"))
    checkpoint = ckpt_core.load(str(published))
    assert [component.label for component in checkpoint.manifest.components] == ["ema", "config"]
    report = ckpt_core.verify(str(published)).report
    assert [finding.code for finding in report.findings] == ["HF001"] and not report.ok


def test_a_model_of_which_one_shard_is_left_is_not_read_without_the_other(published):
    shards = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    write_index(published, shards)
    save_file({"a.weight": MAIN["a.weight"]}, published / shards["a.weight"])
    with pytest.raises(CorruptError, match="model-00002-of-00002"):
        ckpt_core.load(str(published))


def test_a_broken_ema_beside_a_whole_model_is_an_error(published):
    save_file(MAIN, published / "model.safetensors")
    (published / "ema.safetensors").write_bytes((published / "ema.safetensors").read_bytes()[:-2])
    with pytest.raises(CorruptError, match=r"ema\.safetensors"):
        ckpt_core.load(str(published))
    write_index(published, dict.fromkeys(AVERAGE, "../ema.safetensors"), "ema.safetensors.index.json")
    (published / "ema.safetensors").rename(published / "ema-00001-of-00001.safetensors")
    with pytest.raises(UnsafeContentError):
        ckpt_core.load(str(published))


def test_the_tables_that_bagel_makes_itself_are_optional_only_in_a_directory_of_bagel(published):
    wanted = ("latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed")
    assert ckpt_core.load(str(published)).manifest.optional == wanted
    (published / "vit_config.json").unlink()
    assert ckpt_core.load(str(published)).manifest.optional == ()


@pytest.mark.parametrize("size", ["1GB", "24"])
def test_both_are_written_and_read_back_each_in_files_of_its_own(tmp_path, size):
    state = {"model": MAIN, "ema": AVERAGE}
    ckpt_core.save(state, str(tmp_path / "x"), format="hf", options={"max_shard_size": size})
    checkpoint = ckpt_core.load(str(tmp_path / "x"))
    assert values(checkpoint, "model") == {name: tensor.tolist() for name, tensor in MAIN.items()}
    assert values(checkpoint, "ema") == {name: tensor.tolist() for name, tensor in AVERAGE.items()}
    assert codes(tmp_path / "x") == []
    names = {path.name for path in (tmp_path / "x").glob("*.safetensors*")}
    if size == "1GB":
        assert names == {"model.safetensors", "ema.safetensors"}
    else:
        assert {INDEX, "ema.safetensors.index.json", "ema-00001-of-00002.safetensors"} <= names
        for stem, index in (("model", INDEX), ("ema", "ema.safetensors.index.json")):
            content = json.loads((tmp_path / "x" / index).read_text())
            assert content["metadata"] == {"total_parameters": 10, "total_size": 40}
            assert all(path.startswith(f"{stem}-0000") for path in content["weight_map"].values())


@pytest.mark.parametrize("size", ["1GB", "24"])
def test_where_there_is_no_model_the_index_of_the_models_name_is_the_emas(published, tmp_path, size):
    write_index(published, dict.fromkeys(AVERAGE, "ema.safetensors"), total_size=1)
    source = ckpt_core.load(str(published))
    ckpt_core.save(source, str(tmp_path / "x"), format="hf", options={"max_shard_size": size})
    index = json.loads((tmp_path / "x" / INDEX).read_text())
    files = load_file(tmp_path / "x" / "ema.safetensors") if size == "1GB" else None
    assert index["metadata"]["total_size"] == 40
    assert set(index["weight_map"]) == set(AVERAGE) == set(files or AVERAGE)
    assert all((tmp_path / "x" / path).exists() for path in index["weight_map"].values())
    assert codes(tmp_path / "x") == [] and set(ckpt_core.load(str(tmp_path / "x")).component("ema").tensors) == set(
        AVERAGE
    )


def test_the_autoencoder_comes_along_and_stale_copies_of_weights_do_not(published, tmp_path):
    for name in ("consolidated.safetensors", "ema.gguf"):
        (published / name).write_bytes(b"x")
    ckpt_core.save(ckpt_core.load(str(published)), str(tmp_path / "x"), format="hf")
    assert (tmp_path / "x" / "ae.safetensors").read_bytes() == (published / "ae.safetensors").read_bytes()
    assert not {"consolidated.safetensors", "ema.gguf"} & {path.name for path in (tmp_path / "x").iterdir()}


def test_an_ema_is_not_written_as_bin(tmp_path):
    with pytest.raises(UnsupportedFormatError, match="only written as safetensors"):
        ckpt_core.save({"model": MAIN, "ema": AVERAGE}, str(tmp_path / "x"), format="hf", options={"weights": "bin"})
    assert not (tmp_path / "x").exists()
