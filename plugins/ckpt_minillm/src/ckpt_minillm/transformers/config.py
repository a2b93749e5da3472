"""Makes the transformers config of a MiniLLM or minimind model.

It is read off the tensors, and asked for where they cannot tell.

Shapes tell nearly all. They do not tell how many heads a projection is cut into where no q_norm has the length of one,
nor the base of the rotary embedding, the epsilon of the norms, and how many experts see a token. Nothing of that is
guessed: it is given, or taken from a release that is named.

Sources: minimind `model/model_minimind.py` (MiniMindConfig, its layers), mini-llm `model/model_minillm.py`, and the
models of transformers that compute the same: LlamaForCausalLM, Qwen3ForCausalLM with q_norm and k_norm,
Qwen3MoeForCausalLM with experts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpt_core import TensorTable, UnsupportedFormatError, UsageError, option, printable
from ckpt_minillm.model_shape import facts_of
from ckpt_minillm.transformers.tensors import check_tensors

RELEASES: Mapping[str, Mapping[str, Any]] = {
    "minillm": {
        "num_attention_heads": 8,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 32768,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "minimind-3": {
        "num_attention_heads": 8,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768,
        "num_experts_per_tok": 1,
        "norm_topk_prob": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}
"""What the trainers of a release give a model unless somebody changes their code. minimind-2 has minillm's."""

_ASKED = ("num_attention_heads", "rope_theta", "rms_norm_eps", "max_position_embeddings")
_ASKED_OF_EXPERTS = ("num_experts_per_tok", "norm_topk_prob")
_OPTIONAL = ("bos_token_id", "eos_token_id")

_EMBEDDINGS = "model.embed_tokens.weight"
_ATTENTION = "model.layers.0.self_attn"
_MLP = "model.layers.0.mlp"


@dataclass(frozen=True, slots=True)
class _Attention:
    heads: int
    key_value_heads: int
    head_dim: int


def config_of(tensors: TensorTable, given: Mapping[str, Any], *, release: str | None, tied: bool) -> dict[str, Any]:
    """Return the content of `config.json`.

    Args:
        tensors: The model's, under minimind's names.
        given: What was asked for, under the names that transformers has for it.
        release: Name of a release in `RELEASES` that fills in what is neither given nor told.
        tied: Whether the head is the embedding.

    Raises:
        UsageError: Something that cannot be told is not given, or contradicts the tensors.
        UnsupportedFormatError: No model of transformers computes with these tensors what MiniLLM does.
    """
    if release is not None and release not in RELEASES:
        raise UsageError(f"{option('release', printable(release))}: not one of {', '.join(RELEASES)}")
    facts = facts_of(tensors)
    if _EMBEDDINGS not in tensors or f"{_ATTENTION}.q_proj.weight" not in tensors:
        raise UnsupportedFormatError(
            f"no {_EMBEDDINGS}, or no {_ATTENTION}.q_proj.weight: not a model of MiniLLM or minimind-2 or later; the "
            "first minimind rotates neighbouring elements, which transformers' llama does not"
        )
    known = {**(RELEASES[release] if release else {}), **given}
    normed = f"{_ATTENTION}.q_norm.weight" in tensors
    attention = _attention(tensors, known, given, normed)
    _require(known, _ASKED[1:])
    config: dict[str, Any] = {
        "architectures": [_architecture(normed, bool(facts.use_moe))],
        "model_type": _model_type(normed, bool(facts.use_moe)),
        "vocab_size": facts.vocab_size,
        "hidden_size": facts.hidden_size,
        "num_hidden_layers": facts.num_hidden_layers,
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.key_value_heads,
        "head_dim": attention.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "max_position_embeddings": known["max_position_embeddings"],
        "rms_norm_eps": known["rms_norm_eps"],
        "rope_theta": known["rope_theta"],
        "tie_word_embeddings": tied,
        **{name: known[name] for name in _OPTIONAL if name in known},
        **(_experts(tensors, known) if facts.use_moe else _dense(tensors)),
    }
    check_tensors(tensors, config)
    return config


def _architecture(normed: bool, moe: bool) -> str:
    return "Qwen3MoeForCausalLM" if moe else "Qwen3ForCausalLM" if normed else "LlamaForCausalLM"


def _model_type(normed: bool, moe: bool) -> str:
    if moe and not normed:
        raise UnsupportedFormatError(
            "experts without q_norm: no model of transformers has such layers under any names; minimind's own "
            "convert_model.py writes one that brings its code along"
        )
    return "qwen3_moe" if moe else "qwen3" if normed else "llama"


def _attention(tensors: TensorTable, known: Mapping[str, Any], given: Mapping[str, Any], normed: bool) -> _Attention:
    """Return the heads and their size.

    The length of q_norm tells where there is one; else they are as given.
    """
    width, narrow = (_rows(tensors, f"{_ATTENTION}.{part}_proj.weight") for part in "qk")
    if normed:
        head_dim = _rows(tensors, f"{_ATTENTION}.q_norm.weight")
        heads = width // head_dim
        if given.get("num_attention_heads", heads) != heads:
            raise UsageError(
                f"{option('num_attention_heads', given['num_attention_heads'])}: "
                f"the tensors have {heads} heads of {head_dim}"
            )
    else:
        _require(known, _ASKED[:1])
        heads = known["num_attention_heads"]
        head_dim = width // heads if heads > 0 else 0
    if not head_dim or width % head_dim or narrow % head_dim or head_dim % 2 or heads % max(narrow // head_dim, 1):
        raise UsageError(
            f"{option('num_attention_heads', heads)}: "
            f"does not divide projections of {width} and {narrow} rows into heads of "
            "one even size"
        )
    return _Attention(heads, narrow // head_dim, head_dim)


def _dense(tensors: TensorTable) -> dict[str, Any]:
    return {"intermediate_size": _rows(tensors, f"{_MLP}.gate_proj.weight"), "mlp_bias": False}


def _experts(tensors: TensorTable, known: Mapping[str, Any]) -> dict[str, Any]:
    if any(".mlp.shared_experts." in name for name in tensors):
        raise UnsupportedFormatError(
            "shared experts: transformers' models that have them weigh them by a gate, which these have not; "
            "minimind's own convert_model.py writes one that brings its code along"
        )
    _require(known, _ASKED_OF_EXPERTS)
    size = _rows(tensors, f"{_MLP}.experts.0.gate_proj.weight")
    return {
        "num_experts": _rows(tensors, f"{_MLP}.gate.weight"),
        "num_experts_per_tok": known["num_experts_per_tok"],
        "norm_topk_prob": known["norm_topk_prob"],
        "moe_intermediate_size": size,
        "intermediate_size": size,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _require(known: Mapping[str, Any], names: tuple[str, ...]) -> None:
    lacking = [option(name) for name in names if name not in known]
    if lacking:
        raise UsageError(
            f"{', '.join(lacking)}: the tensors do not tell, and nothing is guessed; give what the model was trained "
            f"with, or {' or '.join(option('release', name) for name in RELEASES)} for what its trainers use"
        )


def _rows(tensors: TensorTable, name: str) -> int:
    shape = tensors.info(name).shape if name in tensors else ()
    if not shape or not shape[0]:
        raise UnsupportedFormatError(f"{name}: not in the model, or without rows; is it one of MiniLLM or minimind?")
    return shape[0]
