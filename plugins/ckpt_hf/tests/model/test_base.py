"""A checkpoint of a trainer made a model directory of its base: transformers opens it as what was trained."""

import json

import pytest
import torch

import ckpt_core
from ckpt_core import LoadError


@pytest.fixture
def trained(llama, tmp_path):
    """A model trained from the session's llama: wrapped, in a trainer's file, with weights of its own."""
    import copy

    model = copy.deepcopy(llama)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    state = {f"module._orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 1}, tmp_path / "train.pt")
    return model


@pytest.mark.parametrize("base", ["single", "sharded"])
@pytest.mark.parametrize("size", ["1GB", "12KB"])
def test_transformers_opens_it_as_what_was_trained(request, trained, tmp_path, base, size):
    from transformers import AutoModelForCausalLM

    folder = request.getfixturevalue(base)
    (folder / "tokenizer.json").write_text("{}")
    out = tmp_path / "out"
    options = {"max_shard_size": size}
    how = {"to": "hf", "base": str(folder), "models": "main", "options": options}
    ckpt_core.convert(str(tmp_path / "train.pt"), str(out), **how)
    opened, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    words = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(opened(words).logits, trained(words).logits)
    assert (out / "tokenizer.json").exists() and (out / "config.json").read_bytes() == (
        folder / "config.json"
    ).read_bytes()
    if base == "sharded" or size == "12KB":
        index = json.loads((out / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == set(trained.state_dict())
    assert ckpt_core.verify(str(out), depth=ckpt_core.Depth.VALUES).report.findings == ()


def test_a_base_of_another_size_is_refused(trained, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "vocab_size": 64, "num_hidden_layers": 3}
    LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes)).save_pretrained(tmp_path / "b")
    with pytest.raises(LoadError, match="mismatched") as caught:
        ckpt_core.convert(
            str(tmp_path / "train.pt"), str(tmp_path / "x"), to="hf", base=str(tmp_path / "b"), models="main"
        )
    assert caught.value.code == "CA006" and not (tmp_path / "x").exists()
