"""Adds a directory's adapters to a checkpoint.

The default one is at its top, those with names are in folders below.

Source: peft `peft_model.py` (save_pretrained) and `utils/save_and_load.py`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from ckpt_core import Finding, Presence, Profile, Severity, printable
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.weights.adapter_names import ADAPTER_CONFIG, ADAPTERS, is_adapter_folder, named_adapters
from ckpt_hf.weights.single_file import add_file

_PREFIX = "base_model.model."
_LORA = "lora_"

_WRAPPED = ".base_layer."
"""In the names of a whole model that LoRA wraps, beside its factors: that is no adapter."""


def add_adapters(builder: CheckpointBuilder) -> None:
    """Add every adapter, and its config.

    Those with names are all there were where none is at the top.
    """
    named = named_adapters(builder.files)
    top = {path for path in builder.files.entries if "/" not in path}
    if is_adapter_folder(top) or not named:
        add_adapter(builder)
    for name in named:
        add_adapter(builder, f"{name}/", name)


def add_adapter(builder: CheckpointBuilder, folder: str = "", name: str = "") -> None:
    """Add an adapter's weights and its config.

    They lie in a folder of the directory.
    """
    inner, where = f"adapter:{name}" if name else "adapter", f"{folder}{ADAPTER_CONFIG}"
    path = next((f"{folder}{file}" for file in ADAPTERS if f"{folder}{file}" in builder.files.entries), None)
    tensors = None
    if path is None:
        builder.role("adapter", Presence.ABSENT, f"{folder}{ADAPTERS[0]}", name=name, needed_for=Profile.INFERENCE)
    else:
        tensors = add_file(builder, "adapter", path, name)
    config = None
    if where in builder.files.entries:
        config = builder.json_component("config", where, name=inner)
    else:
        builder.role("config", Presence.ABSENT, where, name=inner, needed_for=Profile.INFERENCE)
    if path is not None and tensors is not None:
        builder.findings += model_in_place_of_adapter(tensors, config, path)


def is_adapter(names: Iterable[str]) -> bool:
    """Return True if tensor names are a LoRA's alone."""
    every = list(names)
    factors = any(_LORA in name for name in every)
    return factors and all((_LORA in name or name.startswith(_PREFIX)) and _WRAPPED not in name for name in every)


def adapter_in_place_of_model(names: Iterable[str], path: str) -> Iterator[Finding]:
    """Yield HT011 for an adapter named as a whole model."""
    if is_adapter(names):
        message = f"{printable(path)}: an adapter's weights, under the name of a whole model"
        hint = "what loads it as a model leaves every weight as it was; rename it to adapter_model.safetensors"
        yield Finding("HT011", Severity.ERROR, message, path, hint=hint)


def model_in_place_of_adapter(names: Iterable[str], config: dict[str, Any] | None, path: str) -> Iterator[Finding]:
    """Yield HT012 for a whole model named as a LoRA.

    Other kinds of adapters have names of other kinds.
    """
    every = list(names)
    kind = "LORA" if config is None else config.get("peft_type", "LORA")
    unmarked = kind == "LORA" if config is not None else not any(name.startswith(_PREFIX) for name in every)
    if every and unmarked and not any(_LORA in name for name in every):
        message = f"{printable(path)}: no factors of a LoRA in it: a whole model, under the name of an adapter"
        yield Finding("HT012", Severity.ERROR, message, path, hint="rename it, and copy the adapter from its save")
