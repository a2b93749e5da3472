"""A MiniLLM file becomes a directory that AutoModelForCausalLM opens, with equal logits, and a MiniLLM file again."""

import json
from pathlib import Path

import pytest
import torch
from minillm.model import Config, MiniLLM

import ckpt_core
from ckpt_core import UnsupportedFormatError, UsageError
from ckpt_core.verbs.convert import convert

HIDDEN, VOCABULARY = 32, 64
KINDS = {
    "qwen3": (Config(HIDDEN, 2, vocab_size=VOCABULARY), "minimind-3"),
    "llama": (
        Config(HIDDEN, 2, vocab_size=VOCABULARY, qk_norm=False, num_key_value_heads=2, rms_norm_eps=1e-5),
        "minillm",
    ),
    "qwen3_moe": (Config(HIDDEN, 2, True, vocab_size=VOCABULARY), "minimind-3"),
}


def new_model(config):
    """A model far from its start, so that every part of it moves the logits."""
    model = MiniLLM(config).eval()
    make = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=make)
    return model


def save(model, folder=Path()):
    name = "full_sft_32_moe.pth" if model.config.use_moe else "full_sft_32.pth"
    torch.save(model.state_dict(), folder / name)
    return str(folder / name)


def logits(model):
    tokens = torch.randint(VOCABULARY, (2, 19), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = model(tokens)
    return getattr(found, "logits", found)


def opened(folder):
    from transformers import AutoModelForCausalLM

    model, told = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_equal_there_and_back(kind):
    config, release = KINDS[kind]
    model = new_model(config)
    source = save(model)
    convert(source, "hf", to="hf", options={"release": release})
    theirs = opened("hf")
    assert theirs.config.model_type == kind
    torch.testing.assert_close(logits(theirs), logits(model), rtol=1e-4, atol=1e-5)
    theirs.save_pretrained("saved")
    for folder in ("hf", "saved"):
        back = f"back-{folder}/{source}"
        convert(folder, back, to="minillm", components=["model"])
        again = MiniLLM(config).eval()
        again.load_state_dict(torch.load(back, weights_only=True), strict=True)
        assert torch.equal(logits(again), logits(model)), folder
        assert ckpt_core.diff(source, back).identical


def test_what_shapes_tell_is_not_asked_for():
    convert(
        save(new_model(KINDS["qwen3"][0])),
        "hf",
        to="hf",
        options={"rope_theta": "1e6", "rms_norm_eps": "1e-6", "max_position_embeddings": "512"},
    )
    config = json.loads(Path("hf/config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (8, 4, 4)
    assert (config["hidden_size"], config["vocab_size"], config["intermediate_size"]) == (HIDDEN, VOCABULARY, 128)
    assert config["max_position_embeddings"] == 512 and "bos_token_id" not in config


@pytest.mark.parametrize(
    ("kind", "given", "lacking"),
    [
        ("qwen3", {"rope_theta": 1e6}, "--rms-norm-eps, --max-position-embeddings: the tensors do not tell"),
        ("llama", {"rope_theta": 1e6}, "--num-attention-heads: the tensors do not tell"),
        (
            "qwen3_moe",
            {"rope_theta": 1e6, "rms_norm_eps": 1e-6, "max_position_embeddings": 512},
            "--num-experts-per-tok, --norm-topk-prob: the tensors do not tell",
        ),
        ("qwen3", {"release": "minimind-3", "num_attention_heads": 4}, "the tensors have 8 heads of 4"),
        ("llama", {"release": "minillm", "num_attention_heads": 7}, "does not divide projections of 32 and 8 rows"),
        ("llama", {"release": "minimind-9"}, "not one of minillm, minimind-3"),
    ],
)
def test_what_they_do_not_tell_is_asked_for_and_nothing_is_guessed(kind, given, lacking):
    with pytest.raises(UsageError) as refused:
        convert(save(new_model(KINDS[kind][0])), "hf", to="hf", options=given)
    assert lacking in ckpt_core.in_shell(refused.value.message)
    assert not Path("hf").exists()


def test_the_wrong_number_of_heads_is_what_only_the_user_can_know():
    model = new_model(KINDS["llama"][0])
    convert(save(model), "hf", to="hf", options={"release": "minillm", "num_attention_heads": 4})
    assert not torch.allclose(logits(opened("hf")), logits(model), atol=1e-2)


def test_a_head_of_its_own_is_not_tied():
    model = new_model(KINDS["qwen3"][0])
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() + 1)
    convert(save(model), "hf", to="hf", options={"release": "minimind-3"})
    assert json.loads(Path("hf/config.json").read_text())["tie_word_embeddings"] is False
    torch.testing.assert_close(logits(opened("hf")), logits(model), rtol=1e-4, atol=1e-5)


def test_halved_copies_of_head_and_embedding_are_seen_to_be_tied(minimind):
    source = minimind.save("full_sft_16.pth")
    assert ckpt_core.load(str(source)).component("model").tensors["lm_head.weight"].alias_of is None
    convert(str(source), "hf", to="hf", options={"release": "minimind-3"})
    assert json.loads(Path("hf/config.json").read_text())["tie_word_embeddings"] is True


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda t: t.update({"model.layers.0.mlp.shared_experts.0.up_proj.weight": t["lm_head.weight"]}),
            "shared experts",
        ),
        (lambda t: t.pop("model.layers.1.mlp.gate.weight"), "lacks model.layers.1.mlp.gate.weight"),
        (lambda t: t.update({"model.extra": t["model.norm.weight"]}), "has no place for model.extra"),
        (lambda t: t.update({"model.norm.weight": torch.ones(3)}), r"wants model.norm.weight of shape \(16,\)"),
        (lambda t: [t.pop(name) for name in list(t) if "_norm" in name and "attn" in name], "experts without q_norm"),
        (lambda t: t.pop("model.embed_tokens.weight"), "the first minimind rotates neighbouring elements"),
    ],
)
def test_what_no_model_of_transformers_computes_is_refused_with_the_reason(minimind, change, reason):
    tensors = minimind.tensors(moe=True)
    change(tensors)
    source = minimind.save("full_sft_16_moe.pth", tensors)
    with pytest.raises(UnsupportedFormatError, match=reason):
        convert(str(source), "hf", to="hf", options={"release": "minimind-3", "num_attention_heads": 2})


def test_a_tokenizers_files_are_carried_and_no_other(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    source = save(new_model(KINDS["qwen3"][0]))
    convert(source, "hf", to="hf", options={"release": "minimind-3", "tokenizer": str(folder)})
    assert {path.name for path in Path("hf").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "ckpt.manifest.json",
        "ckpt.blocks",
    }
    assert json.loads(Path("hf/config.json").read_text())["model_type"] == "qwen3"
    with pytest.raises(UsageError, match="no directory with a tokenizer's files"):
        convert(source, "other", to="hf", options={"release": "minimind-3", "tokenizer": str(Path("hf/config.json"))})


def test_without_an_option_a_file_is_what_it_was(minimind):
    """What tensors tell is not stored in them: the same weights stay equal to those of every other format."""
    source = str(minimind.save("full_sft_16.pth"))
    assert [component.label for component in ckpt_core.load(source).manifest.components] == ["model"]
    seen = ckpt_core.load(source, options={"release": "minimind-3"})
    assert [component.label for component in seen.manifest.components] == ["model", "config"]
