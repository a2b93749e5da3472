"""What is written is what save_pretrained would write, and what transformers, safetensors and torch open."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

import ckpt_core
from ckpt_core import Depth, UnsupportedFormatError, UsageError

INDEX = "model.safetensors.index.json"


@pytest.fixture
def saved(tmp_path):
    """Save a state, or what lies at a path, as a model directory."""

    def save(state, name="ours", **options):
        place = tmp_path / name
        checkpoint = ckpt_core.load(str(state)) if hasattr(state, "joinpath") else state
        ckpt_core.save(checkpoint, str(place), format="hf", options=options)
        return place

    return save


@pytest.fixture
def with_config():
    """What a trainer hands over: a model's tensors and its config."""

    def make(model, **more):
        return {"model": model.state_dict(), "config": {**json.loads(model.config.to_json_string()), **more}}

    return make


def names_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def logits(model):
    import torch

    with torch.no_grad():
        return model(torch.arange(12)[None]).logits


def assert_opens_as(model, folder):
    import torch
    from transformers import AutoModelForCausalLM

    opened, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(logits(opened), logits(model))
    report = ckpt_core.verify(str(folder), depth=Depth.VALUES).report
    assert [finding.code for finding in report.findings] == []


def test_shards_and_index_are_those_of_save_pretrained(tmp_path, llama, saved, with_config):
    from safetensors.torch import load_file

    llama.save_pretrained(tmp_path / "theirs", max_shard_size="12KB")
    ours = saved(with_config(llama), max_shard_size="12KB")
    shards = [path.name for path in sorted((tmp_path / "theirs").glob("*.safetensors"))]
    assert len(shards) > 2
    assert names_of(ours) == sorted([*shards, INDEX, "config.json", "ckpt.manifest.json", "ckpt.blocks"])
    assert json.loads((ours / INDEX).read_text()) == json.loads((tmp_path / "theirs" / INDEX).read_text())
    for shard in shards:
        mine, theirs = load_file(ours / shard), load_file(tmp_path / "theirs" / shard)
        assert {name: tensor.tolist() for name, tensor in mine.items()} == {n: t.tolist() for n, t in theirs.items()}
    assert_opens_as(llama, ours)


def test_one_shard_needs_no_index(saved, with_config, llama):
    ours = saved(with_config(llama))
    assert names_of(ours) == ["ckpt.blocks", "ckpt.manifest.json", "config.json", "model.safetensors"]
    assert_opens_as(llama, ours)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "12KB"}], ids=["single", "shards"])
def test_a_tied_name_is_stored_once_opened_by_transformers_and_restored_by_us(
    tmp_path, tied_llama, saved, with_config, options
):
    from safetensors import safe_open

    ours = saved(with_config(tied_llama), **options)
    stored = [name for path in ours.glob("*.safetensors") for name in safe_open(path, "pt").keys()]  # noqa: SIM118
    assert sorted(stored) == sorted(set(tied_llama.state_dict()) - {"lm_head.weight"})
    table = ckpt_core.load(str(ours)).component("model").tensors
    assert set(table) == set(tied_llama.state_dict())
    assert table["lm_head.weight"].alias_of == "model.embed_tokens.weight"
    if options:
        index = json.loads((ours / INDEX).read_text())
        tied_llama.save_pretrained(tmp_path / "theirs", max_shard_size="12KB")
        assert index == json.loads((tmp_path / "theirs" / INDEX).read_text())
    assert_opens_as(tied_llama, ours)


def test_what_shares_memory_under_a_config_that_ties_nothing_is_written_under_every_name(llama, saved, with_config):
    state = with_config(llama, tie_word_embeddings=False)
    state["model"]["lm_head.weight"] = state["model"]["model.embed_tokens.weight"]
    ours = saved(state, max_shard_size="12KB")
    assert "lm_head.weight" in json.loads((ours / INDEX).read_text())["weight_map"]
    before = llama.lm_head.weight.data
    try:
        llama.lm_head.weight.data = llama.model.embed_tokens.weight.data
        assert_opens_as(llama, ours)
    finally:
        llama.lm_head.weight.data = before


@pytest.mark.parametrize("model", ["llama", "tied_llama"])
@pytest.mark.parametrize("size", ["1GB", "12KB"])
def test_bin_files_are_opened_by_torch_and_transformers(request, saved, with_config, model, size):
    import torch

    model = request.getfixturevalue(model)
    ours = saved(with_config(model), weights="bin", max_shard_size=size)
    found = {}
    for path in ours.glob("*.bin"):
        found |= torch.load(path, weights_only=True)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in model.state_dict().items()
    }
    if size == "12KB":
        index = json.loads((ours / "pytorch_model.bin.index.json").read_text())
        assert set(index["weight_map"]) == set(model.state_dict())
    assert_opens_as(model, ours)


def test_the_config_and_the_files_beside_the_weights_come_along_unchanged(single, saved):
    (single / "config.json").write_text((single / "config.json").read_text() + "\n\n")
    (single / "1_Pooling").mkdir()
    carried = {
        "tokenizer.json": b"{ }",
        "vocab.txt": b"\xff\0",
        "1_Pooling/config.json": b"",
        "ä.jinja": b"x" * 3_000_000,
    }
    left = ["tf_model.h5", "pytorch_model.bin.index.json", "training_args.bin", "onnx/model.onnx", "a.gguf"]
    (single / "onnx").mkdir()
    for name, content in {**carried, **dict.fromkeys(left, b"x")}.items():
        (single / name).write_bytes(content)
    ours = saved(single, weights="bin")
    for name in (*carried, "config.json", "generation_config.json"):
        assert (ours / name).read_bytes() == (single / name).read_bytes(), name
    assert not set(left) & set(names_of(ours))


def test_the_weights_alone_are_written_where_no_config_is_asked_for(single, tmp_path, llama):
    from ckpt_core.reading.selection import select

    checkpoint = select(ckpt_core.load(str(single)), components=["model"])
    ckpt_core.save(checkpoint, str(tmp_path / "x"), format="hf")
    assert "config.json" not in names_of(tmp_path / "x")
    assert [component.label for component in ckpt_core.load(str(tmp_path / "x")).manifest.components] == ["model"]
    ckpt_core.save(llama.state_dict(), str(tmp_path / "y"), format="hf")
    assert names_of(tmp_path / "y") == ["ckpt.blocks", "ckpt.manifest.json", "model.safetensors"]


def test_a_directory_that_is_replaced_keeps_nothing_of_the_old_save(saved, with_config, llama, tmp_path):
    ours = saved(with_config(llama), max_shard_size="12KB")
    ckpt_core.save(with_config(llama), str(ours), format="hf", options={"weights": "bin"}, force=True)
    assert names_of(ours) == ["ckpt.blocks", "ckpt.manifest.json", "config.json", "pytorch_model.bin"]
    assert_opens_as(llama, ours)


def test_what_the_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, llama):
    import torch

    weights = {"w": torch.zeros(2)}
    refused = {
        "model, optimizer; choose with components=['model']": {"model": weights, "optimizer": {"m": torch.zeros(1)}},
        "model:critic, ema; choose with": {"ema": weights, "model:critic": weights},
        "this model has plain state": {**weights, "step": 7},
        "this one has tensors": {"model": weights, "config": {"a": torch.zeros(1)}},
        "this one is more than that": {"model": weights, "config": {"a": (1, 2)}},
        "as a JSON object": {"model": weights, "config": {"a": float("nan")}},
    }
    for message, state in refused.items():
        with pytest.raises(UsageError if "choose with" in message else UnsupportedFormatError) as caught:
            ckpt_core.save(state, str(tmp_path / "x"), format="hf")
        assert message in str(caught.value)
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "onnx"}, "options={'weights': 'onnx'}: not safetensors or bin"),
        ({"max_shard_size": "big"}, "options={'max_shard_size': 'big'}: not a size"),
        ({"variant": "fp16"}, "options['variant']: an option for reading hf, not for writing it"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, llama, options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        ckpt_core.save(llama.state_dict(), str(tmp_path / "x"), format="hf", options=options)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_cast_is_said_in_the_config_as_save_pretrained_says_it(llama, tmp_path, key):
    from transformers import AutoConfig, AutoModelForCausalLM

    source, made = tmp_path / "llama", tmp_path / "made"
    llama.save_pretrained(source)
    text = (source / "config.json").read_text().replace('"dtype": "float32"', f'"{key}":  "float32"', 1)
    (source / "config.json").write_text(text.replace("{", '{\n  "note": {"dtype": "float32"},', 1))
    done = ckpt_core.convert(str(source), str(made), to="hf", dtypes=["BF16"])
    assert done.report.restated == (f"config.{key}",)
    assert (made / "config.json").read_bytes() == (source / "config.json").read_bytes().replace(
        f'"{key}":  "float32"'.encode(), f'"{key}":  "bfloat16"'.encode()
    )
    assert json.loads((made / "ckpt.manifest.json").read_text())["provenance"]["restated"] == [f"config.{key}"]
    assert AutoConfig.from_pretrained(made).dtype is torch.bfloat16
    assert {tensor.dtype for tensor in load_file(made / "model.safetensors").values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(made).dtype is torch.bfloat16
    assert [finding.code for finding in ckpt_core.verify(str(made)).report.findings] == []


def test_a_config_stays_as_it_is_where_nothing_was_cast_or_its_type_is_still_there(llama, tmp_path):
    source = tmp_path / "llama"
    llama.save_pretrained(source)
    wrong = (source / "config.json").read_text().replace('"dtype": "float32"', '"dtype": "float16"')
    for name, dtypes, text in (
        ("plain", [], wrong),
        ("some", ["*norm*=BF16"], wrong.replace("float16", "float32")),
        ("as said", ["F16"], wrong),
    ):
        (source / "config.json").write_text(text)
        done = ckpt_core.convert(str(source), str(tmp_path / name), to="hf", dtypes=dtypes)
        assert done.report.restated == ()
        assert (tmp_path / name / "config.json").read_text() == text
