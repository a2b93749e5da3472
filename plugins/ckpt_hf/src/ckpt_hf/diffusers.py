"""What diffusers saves: pipelines, single components and their averages, LoRAs, and the checkpoints of its trainings.

Source: diffusers `pipelines/pipeline_utils.py` (save_pretrained, model_index.json), `models/modeling_utils.py`,
`training_utils.py` (EMAModel), `loaders/lora_base.py`, and `examples/` for the folders that its trainings save.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckpt_core import (
    Confidence,
    Files,
    FormatMatch,
    LoadRequest,
    Part,
    Presence,
    Profile,
    StoredCheckpoint,
)
from ckpt_core.codecs.pieces import Pieces
from ckpt_core.codecs.steps import step_of_name
from ckpt_hf.accelerate import LORA, add_state
from ckpt_hf.accelerate import claim as claim_of_accelerate
from ckpt_hf.folders import Folder, folders
from ckpt_hf.nested_models import (
    COMPONENT,
    has_pieces_of_diffusers,
    head_json,
    is_average,
    label_below,
    models_below,
)
from ckpt_hf.opening import CONFIG
from ckpt_hf.pipeline import INDEX, add_pipeline
from ckpt_hf.weight_file import add_file
from ckpt_hf.weight_pieces import add_config, add_weights, assets_beside

NAME = "diffusers"


def find(files: Files) -> Iterator[FormatMatch]:
    """A match for each pipeline, component, LoRA and training checkpoint."""
    every = {folder.root: folder for folder in folders(files)}
    for folder in every.values():
        found = _claim(folder, every)
        if found is None:
            continue
        confidence, evidence, nested = found
        parts = tuple(models_below(files, folder, every)) if nested else ()
        yield FormatMatch(NAME, confidence, evidence, folder.root, step_of_name(folder.name), parts)


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """All but the models in folders below, which core opens as parts."""
    pieces = Pieces(files)
    every = {folder.root: folder for folder in folders(files)}
    top = every[""]
    if INDEX in top.files:
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


def _claim(folder: Folder, every: Mapping[str, Folder]) -> tuple[Confidence, str, bool] | None:
    """How sure, why, and whether models lie in folders below."""
    if INDEX in folder.files:
        return Confidence.CERTAIN, f"{INDEX} of a pipeline", True
    lora = next((name for name in LORA if name in folder.files), None)
    training = claim_of_accelerate(folder, every)
    if training is not None and (lora or has_pieces_of_diffusers(folder, every)):
        confidence, evidence = training
        return confidence, f"{evidence}, beside {lora or 'models of diffusers'}", True
    weights = next((name for name in sorted(folder.files) if name.startswith(COMPONENT)), None)
    if weights is not None:
        sure = Confidence.CERTAIN if CONFIG in folder.files else Confidence.LIKELY
        return sure, f"{weights} {'beside' if CONFIG in folder.files else 'without'} {CONFIG}", False
    if lora is not None:
        return Confidence.CERTAIN, f"{lora} of a LoRA", False
    return None


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
