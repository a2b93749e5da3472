"""The options that show plain weights in another form.

They merge a LoRA, or add a config for transformers.
"""

from ckpt_core import FormatOption

_CONFIG = {
    "num_attention_heads": (int, "this many heads"),
    "rope_theta": (float, "this base of the rotary embedding"),
    "rms_norm_eps": (float, "this epsilon of the norms"),
    "max_position_embeddings": (int, "this many positions"),
    "num_experts_per_tok": (int, "this many experts a token"),
    "norm_topk_prob": (bool, "weights of the chosen experts that add up to 1"),
    "bos_token_id": (int, "this first token"),
    "eos_token_id": (int, "this last token"),
}

CONFIG_OPTIONS = tuple(_CONFIG)
"""Options that make a config, or a part of one, under the names that transformers has for them."""

VIEWS = (
    FormatOption("lora", "merge the LoRA in this file into the weights", writes=False),
    FormatOption("release", "add a transformers config as this release trains: minillm, minimind-3", writes=False),
    *(
        FormatOption(name, f"add a transformers config with {what}", kind, writes=False)
        for name, (kind, what) in _CONFIG.items()
    ),
    FormatOption("tokenizer", "carry the tokenizer's files of this directory along", writes=False),
)
"""All of them; each leaves the file as it is."""
