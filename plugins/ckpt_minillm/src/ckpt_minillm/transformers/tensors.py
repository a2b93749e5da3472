"""Compares a file's tensors with those of a transformers model.

All that the model has under a config must be there, and no other.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import TensorTable, UnsupportedFormatError, printable

HEAD = "lm_head.weight"
EMBEDDINGS = "model.embed_tokens.weight"


def check_tensors(tensors: TensorTable, config: Mapping[str, Any]) -> None:
    """Raise UnsupportedFormatError if the model's tensors differ.

    It would lack a tensor, ignore one, or expect another shape.
    """
    wanted = dict(_shapes(config))
    head_missing = config["tie_word_embeddings"] and HEAD not in tensors
    missing = [name for name in wanted if name not in tensors and not (name == HEAD and head_missing)]
    unknown = [name for name in tensors if name not in wanted]
    other = [name for name in wanted if name in tensors and tensors.info(name).shape != wanted[name]]
    if not (missing or unknown or other):
        return
    parts = [f"lacks {_some(missing)}"] if missing else []
    parts += [f"has no place for {_some(unknown)}"] if unknown else []
    parts += [
        f"wants {printable(name)} of shape {wanted[name]}, here it is {tensors.info(name).shape}" for name in other[:1]
    ]
    raise UnsupportedFormatError(f"{config['architectures'][0]} {'; '.join(parts)}")


def _shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield EMBEDDINGS, (vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        for name, shape in _layer(config):
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (hidden,)
    yield HEAD, (vocabulary, hidden)


def _layer(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, head = config["hidden_size"], config["head_dim"]
    wide, narrow = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    yield "self_attn.q_proj.weight", (wide, hidden)
    yield "self_attn.k_proj.weight", (narrow, hidden)
    yield "self_attn.v_proj.weight", (narrow, hidden)
    yield "self_attn.o_proj.weight", (hidden, wide)
    if config["model_type"] != "llama":
        yield "self_attn.q_norm.weight", (head,)
        yield "self_attn.k_norm.weight", (head,)
    yield "input_layernorm.weight", (hidden,)
    yield "post_attention_layernorm.weight", (hidden,)
    if config["model_type"] != "qwen3_moe":
        yield from _feed_forward("mlp", hidden, config["intermediate_size"])
        return
    yield "mlp.gate.weight", (config["num_experts"], hidden)
    for expert in range(config["num_experts"]):
        yield from _feed_forward(f"mlp.experts.{expert}", hidden, config["moe_intermediate_size"])


def _feed_forward(name: str, hidden: int, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.gate_proj.weight", (size, hidden)
    yield f"{name}.up_proj.weight", (size, hidden)
    yield f"{name}.down_proj.weight", (hidden, size)


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:3])
    return f"{shown}, … {len(names) - 3} more" if len(names) > 3 else shown
