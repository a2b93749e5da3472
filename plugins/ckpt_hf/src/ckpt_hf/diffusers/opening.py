"""Opens a folder of diffusers.

The models in folders below are left to core, which opens them as parts.
"""

from collections.abc import Mapping
from dataclasses import replace

from ckpt_core import Files, FormatMatch, LoadRequest, Part, Presence, Profile, StoredCheckpoint
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.accelerate.detection import LORA
from ckpt_hf.accelerate.detection import claim as claim_of_accelerate
from ckpt_hf.accelerate.opening import add_state
from ckpt_hf.beside_state import add_config, add_weights, assets_beside
from ckpt_hf.diffusers.detection import INDEX
from ckpt_hf.diffusers.pipeline import add_pipeline
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import CONFIG
from ckpt_hf.nested_models import COMPONENT, head_json, is_average, label_below
from ckpt_hf.weights.single_file import add_file


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read all but the models below.

    Core opens those as parts.
    """
    builder = CheckpointBuilder(files)
    every = {folder.root: folder for folder in folders(files)}
    top = every[""]
    if INDEX in top.files | top.closed:
        add_pipeline(builder, top, every)
    elif any(name.startswith(COMPONENT) for name in top.files):
        _add_component(builder, request.options.get("variant"))
    _add_lora(builder, top)
    if claim_of_accelerate(top, every) is not None:
        add_state(builder)
        _add_lost(builder, top, every, match.parts)
    _say_configs(builder, match.parts)
    taken = {role.where for role in builder.roles}
    return builder.checkpoint(match, assets=[asset for asset in assets_beside(files) if asset.path not in taken])


def _add_component(builder: CheckpointBuilder, variant: str | None) -> None:
    """Add a component that was saved by itself.

    It is an average where its config says so.
    """
    add_weights(builder, variant)
    add_config(builder, needed=True)
    if is_average(builder.files, ""):
        builder.components = [replace(c, kind="ema") if c.kind == "model" else c for c in builder.components]
        builder.roles = [replace(role, kind="ema") if role.kind == "model" else role for role in builder.roles]


def _add_lora(builder: CheckpointBuilder, top: Folder) -> None:
    path = next((name for name in LORA if name in top.files), None)
    if path is not None:
        add_file(builder, "adapter", path)


def _add_lost(builder: CheckpointBuilder, top: Folder, every: Mapping[str, Folder], parts: tuple[Part, ...]) -> None:
    """Note lost models of a training as absent.

    A config, or an average, shows that they were there.
    """
    there = {part.component for part in parts}
    for name in sorted(top.folders):
        config = head_json(builder.files, f"{name}/{CONFIG}")
        if config is not None and "_class_name" in config and name not in {part.root for part in parts}:
            kind, _, label = label_below(builder.files, name).partition(":")
            there.add(f"{kind}:{label}")
            path = f"{name}/{COMPONENT}.safetensors"
            builder.role(kind, Presence.ABSENT, path, name=label, needed_for=Profile.INFERENCE)
    for average in sorted(label for label in there if label.startswith("ema:")):
        label = average.removeprefix("ema:")
        if f"model:{label}" not in there:
            path = f"{label}/{COMPONENT}.safetensors"
            builder.role("model", Presence.ABSENT, path, name=label, needed_for=Profile.RESUME)


def _say_configs(builder: CheckpointBuilder, parts: tuple[Part, ...]) -> None:
    """Note the lost configs of models below.

    The models cannot be built without.
    """
    for part in parts:
        path = f"{part.root}/{CONFIG}"
        if path not in builder.files.entries:
            builder.role("config", Presence.ABSENT, path, name=part.root, needed_for=Profile.INFERENCE)
