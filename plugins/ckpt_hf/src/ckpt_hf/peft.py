"""Adapters that PEFT saves: `adapter_model.safetensors` and its config, one at the top or several in folders.

Source: peft `peft_model.py` (save_pretrained). The model that they change is named in their config, and not there.
"""

from collections.abc import Iterator, Mapping

from ckpt_core import Asset, Confidence, Files, FormatMatch, LoadRequest, Presence, StoredCheckpoint
from ckpt_core.codecs.pieces import Pieces
from ckpt_core.codecs.steps import step_of_name
from ckpt_hf.accelerate import claim as claim_of_accelerate
from ckpt_hf.adapters import (
    ADAPTER_CONFIG,
    ADAPTERS,
    add_adapters,
    has_adapters,
    is_adapter_folder,
    is_named_adapter,
)
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import WeightSet, group
from ckpt_hf.trainer import is_trainers
from ckpt_hf.weight_pieces import add_tokenizer, add_weights, assets_beside

NAME = "peft"

_TRAINING = "training_state.pt"
_SEPARATED = "peft_adapters"
"""The folder in which DyLoRA-MoE keeps its experts, whose own format reads them."""

_BASE = "the base model, which the adapter changes and does not hold"


def find(files: Files) -> Iterator[FormatMatch]:
    """A match for each folder of adapters that is no part of another checkpoint."""
    every = {folder.root: folder for folder in folders(files)}
    for folder in every.values():
        found = _claim(files, folder, every)
        if found is not None and not _is_part(folder, every) and not _of_training(folder, every):
            yield FormatMatch(NAME, *found, folder.root, step_of_name(folder.name))


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """The adapters and their configs; the base model is named, and not asked for."""
    pieces = Pieces(files)
    if has_adapters(files) or not group(path for path in files.entries if "/" not in path):
        add_adapters(pieces)
    else:
        add_weights(pieces)
    base = _base_of(pieces)
    if not any(component.kind == "model" for component in pieces.components):
        pieces.role("model", Presence.NOT_NEEDED, base, _BASE)
    add_tokenizer(pieces)
    return pieces.checkpoint(match, assets=_assets(pieces), metadata={"base_model": base} if base else {})


def _claim(files: Files, folder: Folder, every: Mapping[str, Folder]) -> tuple[Confidence, str] | None:
    held = next((name for name in ADAPTERS if name in folder.files), None)
    if ADAPTER_CONFIG in folder.files and held is not None:
        return Confidence.CERTAIN, f"{ADAPTER_CONFIG} beside {held}"
    named = [name for name in sorted(folder.folders) if _is_named(every[f"{folder.root}/{name}".lstrip("/")])]
    if not named and not is_adapter_folder(folder.files):
        return None
    weights = group(folder.files)
    if weights:
        factors = ADAPTER_CONFIG in folder.files and _mentions_factors(files, folder, weights[0])
        return (Confidence.CERTAIN, f"{ADAPTER_CONFIG} beside factors in {weights[0].shown}") if factors else None
    if held is not None:
        return Confidence.CERTAIN, f"{held} without {ADAPTER_CONFIG}"
    if named:
        return Confidence.CERTAIN, f"adapters in the folders {', '.join(named[:4])}"
    return Confidence.LIKELY, f"{ADAPTER_CONFIG} without weights"


def _is_named(folder: Folder) -> bool:
    return is_named_adapter(folder.name, folder.files) and not is_trainers(folder)


def _is_part(folder: Folder, every: Mapping[str, Folder]) -> bool:
    """Whether it is an adapter with a name, of the save in the folder above, or an expert of DyLoRA-MoE."""
    if _SEPARATED in folder.root.split("/") or not folder.root:
        return _SEPARATED in folder.root.split("/")
    above = every[folder.root.rpartition("/")[0]]
    whole_model = bool(group(above.files)) and not is_adapter_folder(above.files) and not _of_training(above, every)
    return _is_named(folder) and not whole_model


def _of_training(folder: Folder, every: Mapping[str, Folder]) -> bool:
    """Whether a trainer's format claims the folder, which reads the adapters in it."""
    return is_trainers(folder) or _TRAINING in folder.files or claim_of_accelerate(folder, every) is not None


def _mentions_factors(files: Files, folder: Folder, weights: WeightSet) -> bool:
    path = f"{folder.root}/{weights.single or weights.paths[0]}".lstrip("/")
    head = files.head(path)
    return b"lora_A" in head or b"lora_B" in head


def _base_of(pieces: Pieces) -> str:
    for component in pieces.components:
        state = component.state
        if component.kind == "config" and isinstance(state, dict):
            base = state.get("base_model_name_or_path")
            if isinstance(base, str) and base:
                return base
    return ""


def _assets(pieces: Pieces) -> list[Asset]:
    taken = {role.where for role in pieces.roles}
    return [asset for asset in assets_beside(pieces.files) if asset.path not in taken]
