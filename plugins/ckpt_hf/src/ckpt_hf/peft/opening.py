"""Adapters opened, with their configs; the base model is named, and not asked for."""

from ckpt_core import Asset, Files, FormatMatch, LoadRequest, Presence, StoredCheckpoint
from ckpt_core.layouts.builder import Pieces
from ckpt_hf.beside_state import add_tokenizer, add_weights, assets_beside
from ckpt_hf.names import group
from ckpt_hf.weights.adapter_names import has_adapters
from ckpt_hf.weights.adapters import add_adapters

_BASE = "the base model, which the adapter changes and does not hold"


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
