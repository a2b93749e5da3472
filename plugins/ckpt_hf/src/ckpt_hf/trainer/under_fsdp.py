"""Adds the parts that the Trainer writes under FSDP.

They are weights and optimizer once more, as its own resume looks for them.

Source: transformers `trainer.py` (_save_optimizer_and_scheduler, _load_from_checkpoint) and accelerate
`utils/fsdp_utils.py`. With FULL_STATE_DICT they are files, beside the weights that `save_pretrained` writes; with
SHARDED_STATE_DICT directories of DCP, which are parts of the match, and there are no other weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_core import Component, Files, Part, Presence, Profile
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.names import group
from ckpt_hf.weights.adapter_names import has_adapters
from ckpt_hf.weights.adapters import is_adapter

_NAME = "fsdp"
"""Names the second copy of the weights, which FSDP's resume reads."""


@dataclass(frozen=True, slots=True)
class Places:
    """The places of weights and optimizer for a resume.

    They are two files, or two directories.
    """

    model: str
    optimizer: str


_FULL = Places("pytorch_model_fsdp.bin", "optimizer.bin")
_SHARDED = Places("pytorch_model_fsdp_0", "optimizer_0")


def places(files: Files, parts: Sequence[Part], arguments: Mapping[Any, Any]) -> Places | None:
    """Return the places that a resume reads under FSDP.

    What is there tells them, or else the arguments; None for a run without it.
    """
    if any(part.format == "dcp" for part in parts):
        return _SHARDED
    if _FULL.model in files.entries or (_FULL.optimizer in files.entries and "optimizer.pt" not in files.entries):
        return _FULL
    if not arguments.get("fsdp"):
        return None
    config = arguments.get("fsdp_config")
    kind = config.get("state_dict_type", "") if isinstance(config, Mapping) else ""
    return _SHARDED if str(kind).startswith("SHARDED") else _FULL


def holds_all_weights(files: Files, parts: Sequence[Part]) -> bool:
    """Return True if there are only FSDP's own weights."""
    where = places(files, parts, {})
    top = {path for path in files.entries if "/" not in path}
    return where is not None and not has_adapters(files) and not group(top)


def add(builder: CheckpointBuilder, parts: Sequence[Part], where: Places) -> None:
    """Add the optimizer and weights that are not parts.

    A resume reads this copy of the weights.
    """
    components = {part.component for part in parts}
    if "optimizer" not in components:
        builder.torch_component("optimizer", where.optimizer)
    if "model" not in components:
        alone = holds_all_weights(builder.files, parts)
        _add_weights(builder, where.model, "" if alone else _NAME, Profile.INFERENCE if alone else Profile.RESUME)


def _add_weights(builder: CheckpointBuilder, path: str, name: str, needed_for: Profile) -> None:
    kind = "adapter" if has_adapters(builder.files) else "model"

    def read() -> None:
        file = builder.torch(path)
        if file is None:
            builder.role(kind, Presence.ABSENT, path, name=name, needed_for=needed_for)
        else:
            held = "adapter" if is_adapter(file.tensors) else "model"
            builder.add(Component(held, file.tensors, file.root, name), path)

    builder.tried(kind, path, read, name=name, needed_for=needed_for)
