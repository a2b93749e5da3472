"""The kinds of components, in the order of a manifest."""

KINDS = (
    "model",
    "ema",
    "optimizer",
    "scheduler",
    "scaler",
    "rng",
    "sampler",
    "progress",
    "adapter",
    "tokenizer",
    "config",
)

WEIGHTS = ("model", "ema", "adapter")
"""Kinds of which any one is enough to compute with."""
