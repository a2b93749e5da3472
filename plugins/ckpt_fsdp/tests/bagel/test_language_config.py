"""What BAGEL's llm_config.json says of the language model is held against it, in a training's save and in a base."""

import json

import pytest

import ckpt_core
from ckpt_core import Profile

RIGHT = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "qk_norm": True,
}
LAYOUTS = ["bagel-sharded", "bagel-ranks", "bagel-fsdp2"]
WRONG = [
    ({"vocab_size": 25}, "LW020"),
    ({"hidden_size": 32}, "LW021"),
    ({"num_hidden_layers": 3}, "LW022"),
    ({"num_hidden_layers": 1}, "LW022"),
    ({"num_key_value_heads": 1}, "LW023"),
    ({"intermediate_size": 24}, "LW023"),
]


def errors(folder, **changes):
    (folder / "llm_config.json").write_text(json.dumps(RIGHT | changes))
    return {f.code for f in ckpt_core.verify(str(folder), profile=Profile.INFERENCE).report.findings if f.severity > 1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_config_of_another_language_model_is_an_error_in_each_of_bagels_layouts(made, copy_of, layout):
    folder = copy_of(made("bagel_dcp_save.py", 4) / layout)
    assert errors(folder) == set()
    for changes, code in WRONG:
        assert code in errors(folder, **changes)


def test_a_config_of_another_language_model_is_an_error_in_a_base(base_model, copy_of):
    folder = copy_of(base_model)
    assert errors(folder) == set()
    for changes, code in WRONG:
        assert code in errors(folder, **changes)


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"vocab_size"'])
def test_a_config_that_cannot_be_read_is_an_error_and_not_absent(base_model, copy_of, content):
    folder = copy_of(base_model)
    (folder / "llm_config.json").write_text(content)
    report = ckpt_core.verify(str(folder), profile=Profile.INFERENCE).report
    assert [f.path for f in report.findings if f.code == "CK018" and f.severity > 1] == ["llm_config.json"]
