"""Tells the kind of training state by a file's name.

The words in it tell: `optimizer_state.safetensors`, `lr_sched.pt`.
"""

import re

_WORDS = {
    "optimizer": ("optimizer", "optimizers", "optim", "opt"),
    "scheduler": ("scheduler", "schedulers", "sched"),
    "scaler": ("scaler", "gradscaler"),
    "rng": ("rng", "random"),
    "sampler": ("sampler", "dataloader", "loader"),
    "ema": ("ema",),
    "progress": ("step", "steps", "progress", "iteration", "epoch"),
}
_KIND = {word: kind for kind, words in _WORDS.items() for word in words}
_BESIDE = {"lr", "grad", "train", "training", "trainer", "global", "torch", "data", "state", "states"}
"""Words that may stand before the one that says the kind; a name of these alone is that of all state in one file."""

_SUFFIXES = (".json", ".safetensors", ".pt", ".pth", ".bin", ".pkl")
_TOKEN = re.compile(r"[a-z]+|\d+")


def kind_of_name(name: str) -> str | None:
    """Return the component kind that a file's name means.

    None where it is no training state by its name. A name with a number behind `step` or `epoch` is that of a whole
    checkpoint of a run.
    """
    stem, suffix = split_name(name)
    words = _TOKEN.findall(stem.lower())
    if suffix not in _SUFFIXES or "config" in words or "args" in words:
        return None
    for word in words:
        if word not in _BESIDE:
            kind = _KIND.get(word)
            return None if kind == "progress" and any(map(str.isdecimal, words)) else kind
    return "progress" if {"state", "states"} & set(words) else None


def kind_of_folder(name: str) -> str | None:
    """Return the kind that a folder's name means.

    Examples are `training_state` and `optimizer`.
    """
    return kind_of_name(f"{name}.pt")


def split_name(name: str) -> tuple[str, str]:
    """Return stem and suffix of a file's name."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, f".{suffix}") if dot else (name, "")


def without_kind(name: str) -> str:
    """Return a file's name without its kind.

    `param_groups` of `optimizer_param_groups.json`.
    """
    words = split_name(name)[0].split("_")
    return "_".join(word for word in words if word not in _KIND and word not in _BESIDE)
