"""A folder of diffusers opened: all but the models in folders below, which core opens as parts."""

from collections.abc import Mapping
from dataclasses import replace

from ckpt_core import Files, FormatMatch, LoadRequest, Part, Presence, Profile, StoredCheckpoint
from ckpt_core.layouts.builder import Pieces
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
    """All but the models in folders below, which core opens as parts."""
    pieces = Pieces(files)
    every = {folder.root: folder for folder in folders(files)}
    top = every[""]
    if INDEX in top.files | top.closed:
        add_pipeline(pieces, top, every)
    elif any(name.startswith(COMPONENT) for name in top.files):
        _add_component(pieces, request.options.get("variant"))
    _add_lora(pieces, top)
    if claim_of_accelerate(top, every) is not None:
        add_state(pieces)
        _add_lost(pieces, top, every, match.parts)
    _say_configs(pieces, match.parts)
    taken = {role.where for role in pieces.roles}
    return pieces.checkpoint(match, assets=[asset for asset in assets_beside(files) if asset.path not in taken])


def _add_component(pieces: Pieces, variant: str | None) -> None:
    """A component that was saved by itself; an average where its config says so."""
    add_weights(pieces, variant)
    add_config(pieces, needed=True)
    if is_average(pieces.files, ""):
        pieces.components = [replace(c, kind="ema") if c.kind == "model" else c for c in pieces.components]
        pieces.roles = [replace(role, kind="ema") if role.kind == "model" else role for role in pieces.roles]


def _add_lora(pieces: Pieces, top: Folder) -> None:
    path = next((name for name in LORA if name in top.files), None)
    if path is not None:
        add_file(pieces, "adapter", path)


def _add_lost(pieces: Pieces, top: Folder, every: Mapping[str, Folder], parts: tuple[Part, ...]) -> None:
    """Models of a training that have left something: a config, or an average."""
    there = {part.component for part in parts}
    for name in sorted(top.folders):
        config = head_json(pieces.files, f"{name}/{CONFIG}")
        if config is not None and "_class_name" in config and name not in {part.root for part in parts}:
            kind, _, label = label_below(pieces.files, name).partition(":")
            there.add(f"{kind}:{label}")
            path = f"{name}/{COMPONENT}.safetensors"
            pieces.role(kind, Presence.ABSENT, path, name=label, needed_for=Profile.INFERENCE)
    for average in sorted(label for label in there if label.startswith("ema:")):
        label = average.removeprefix("ema:")
        if f"model:{label}" not in there:
            path = f"{label}/{COMPONENT}.safetensors"
            pieces.role("model", Presence.ABSENT, path, name=label, needed_for=Profile.RESUME)


def _say_configs(pieces: Pieces, parts: tuple[Part, ...]) -> None:
    """Models below that have lost the config without which they cannot be built."""
    for part in parts:
        path = f"{part.root}/{CONFIG}"
        if path not in pieces.files.entries:
            pieces.role("config", Presence.ABSENT, path, name=part.root, needed_for=Profile.INFERENCE)
