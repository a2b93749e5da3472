"""The sizes of tensors that a transformers config.json claims.

The sizes stand under the keys that its models give them.

Source: transformers `models/*/configuration_*.py`; keys that a config leaves out have defaults that only the model's
code knows, so that nothing is concluded from a config that may leave one out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.laws.missing_blocks import missing_projections
from ckpt_core.laws.model_sizes import AttentionSizes, LayerCount, ModelSizes, model_sizes
from ckpt_core.laws.tensor_infos import TensorInfos
from ckpt_core.schema.findings import Finding

Config = Mapping[str, Any]

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_ENCODER_LAYERS = ("encoder_layers", "num_encoder_layers")
_DECODER_LAYERS = ("decoder_layers", "num_decoder_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_OTHER_WIDTHS = re.compile(r"embed\w*_(dim|size)|(^|_)d_embed|emb_dim|(dim|size)\w*_embed|embedding_")
_SIZES = (*_LAYERS, *_HIDDEN, "layers", "width")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_KNOWN_HEADS = frozenset({*_HEADS, "num_key_value_heads", "head_dim", "is_decoder"})
_OTHER_HEADS = re.compile(r"head|kv|rope_dim|q_lora|latent")
_MORE_BLOCKS = re.compile(r"nextn|mtp")
_NOT_SEEN = re.compile(r"vision|audio|image|video|vit|vae|vq|visual|speech|quant|rope|generation|backbone|codec")
_WORDS = {
    "text": ("text", "language"),
    "llm": ("language", "llm"),
    "language": ("language",),
    "vision": ("vision", "visual"),
}
"""Words in the names of a part's tensors, by the stem of its key, where it is not that stem."""
_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForImageClassification")
_GENERATORS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_EXPERTS = ("num_local_experts", "n_routed_experts")


def config_laws(config: Config, infos: TensorInfos, path: str, *, within: str = "") -> Iterator[Finding]:
    """Yield LW004 and LW020 to LW026 for a config's false claims.

    Args:
        config: The content of a config of transformers.
        infos: The tensors of a component.
        path: The config's file.
        within: What the names of the tensors that it is about begin with.
    """
    own = {name: info for name, info in infos.items() if name.startswith(within)} if within else infos
    yield from model_sizes(claims(config, path), own)
    yield from missing_projections(own)


def claims(config: Config, path: str = "config.json") -> ModelSizes:
    """Return a config's claims about tensors that are certain."""
    parts = dict(_parts(config))
    flat = not parts
    remote = "auto_map" in config
    architecture = _architecture(config)
    generates = architecture.endswith("ForConditionalGeneration") and not remote
    return ModelSizes(
        path,
        vocabularies=tuple(_vocabularies(config, parts)),
        hidden=_hidden(config) if flat else None,
        layers=tuple(_layers(config) if flat else _layers_of_parts(parts)),
        attention=_attention(config) if flat else None,
        inner=_inner(config) if flat else None,
        head=architecture if _is_untied(config, parts) and architecture.endswith(_GENERATORS) else None,
        classifier=architecture if not remote and architecture.endswith(_CLASSIFIERS) else None,
        special=not flat or "cross_attention_layers" in config or not architecture.endswith(_GENERATORS),
        experts=_experts(config) if flat and not remote else None,
        stacks=("encoder", "decoder") if flat and config.get("is_encoder_decoder") is True and generates else (),
    )


def _architecture(config: Config) -> str:
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) else ""


def _parts(config: Config) -> Iterator[tuple[str, Config]]:
    """Yield the configs of models within a model, by key."""
    for key, value in config.items():
        named = key.endswith("_config") and not re.search("quant|generation", key)
        if isinstance(value, dict) and (named or "model_type" in value or _number(value, _SIZES)):
            yield key, value


def _number(config: Config, keys: tuple[str, ...]) -> tuple[str, int] | None:
    """Return the first of these keys that has a number."""
    return next(((key, config[key]) for key in keys if type(config.get(key)) is int), None)


def _vocabularies(config: Config, parts: Mapping[str, Config]) -> Iterator[tuple[str, int]]:
    """Yield every vocabulary's key and size.

    Yields nothing where a part of the model leaves its own unsaid, or where tables are made of several codebooks.
    """
    if any("codebook" in key for one in (config, *parts.values()) for key in one):
        return
    hearing = [part for key, part in parts.items() if not _NOT_SEEN.search(key)]
    if any(not dict(_vocabularies_of(part)) for part in hearing):
        return
    if parts and not hearing and not dict(_vocabularies_of(config)):
        return
    seen: dict[int, str] = {}
    for one in (config, *parts.values()):
        for key, count in _vocabularies_of(one):
            seen.setdefault(count, key)
    yield from ((key, count) for count, key in seen.items())


def _vocabularies_of(config: Config) -> Iterator[tuple[str, int]]:
    """Yield vocabularies, those of parts within a part too."""
    for key, value in config.items():
        if type(value) is int and (("vocab" in key and "size" in key) or key in ("n_vocab", "n_words")):
            yield key, value
        elif isinstance(value, dict):
            yield from _vocabularies_of(value)


def _hidden(config: Config) -> tuple[str, int] | None:
    if any(_OTHER_WIDTHS.search(key) for key in config):
        return None
    return _number(config, _HIDDEN)


def _layers(config: Config) -> Iterator[LayerCount]:
    extra = sum(value for key, value in config.items() if _MORE_BLOCKS.search(key) and type(value) is int)
    encoder, decoder = _number(config, _ENCODER_LAYERS), _number(config, _DECODER_LAYERS)
    every = _number(config, _LAYERS)
    if config.get("is_encoder_decoder") is True:
        encoder = encoder or every
        if encoder is not None and decoder is not None:
            yield LayerCount(*encoder, ("encoder",), ("decoder",))
            yield LayerCount(*decoder, ("decoder",))
    elif every is not None and encoder is None and decoder is None:
        yield LayerCount(*every, extra=extra)


def _layers_of_parts(parts: Mapping[str, Config]) -> Iterator[LayerCount]:
    """Yield the layer counts of parts with known tensor names.

    The key of such a part says where in the names it is.
    """
    for key, part in parts.items():
        stem = key.removesuffix("_config")
        within = _WORDS.get(stem)
        claimed = [claim for claim in _layers(part) if not claim.within]
        if within is not None and claimed and not dict(_parts(part)):
            outside = tuple(word for other in parts if other != key for word in _words(other))
            yield LayerCount(f"{key}.{claimed[0].key}", claimed[0].count, within, outside, claimed[0].extra)


def _words(key: str) -> tuple[str, ...]:
    stem = key.removesuffix("_config")
    return _WORDS.get(stem, (stem,))


def _attention(config: Config) -> AttentionSizes | None:
    """Return the sizes of the attention projections.

    None where the config says more of heads than the usual keys.
    """
    said = [key for key, value in config.items() if value not in (None, False) and key not in _KNOWN_HEADS]
    odd = any(_OTHER_HEADS.search(key) for key in said)
    heads, hidden = _number(config, _HEADS[:1]), _number(config, _HIDDEN[:1])
    if odd or heads is None or hidden is None or heads[1] <= 0 or config.get("is_encoder_decoder"):
        return None
    size = config.get("head_dim") or hidden[1] // heads[1]
    shared = config.get("num_key_value_heads") or heads[1]
    return AttentionSizes(heads[1], shared, size) if type(size) is int and type(shared) is int else None


def _inner(config: Config) -> tuple[str, int] | None:
    if any("moe" in key or "expert" in key for key in config) or not dict(_vocabularies_of(config)):
        return None
    return _number(config, ("intermediate_size",))


def _is_untied(config: Config, parts: Mapping[str, Config]) -> bool:
    """Return True if input and output share no table.

    The config must say so; of parts, each that hears tokens must say so.
    """
    said = [part.get("tie_word_embeddings") for key, part in parts.items() if not _NOT_SEEN.search(key)]
    return config.get("tie_word_embeddings") is False and all(tied is False for tied in said)


def _experts(config: Config) -> tuple[str, int] | None:
    experts = _number(config, _EXPERTS)
    return experts if experts is not None and experts[1] > 1 else None
