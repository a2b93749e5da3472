"""Opens adapters with their configs.

The base model is named, and not asked for.
"""

from ckpt_core import Asset, Files, FormatMatch, LoadRequest, Presence, StoredCheckpoint
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.beside_state import add_tokenizer, add_weights, assets_beside
from ckpt_hf.names import group
from ckpt_hf.weights.adapter_names import has_adapters
from ckpt_hf.weights.adapters import add_adapters

_BASE = "the base model, which the adapter changes and does not hold"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the adapters and their configs.

    The base model is named, and not asked for.
    """
    builder = CheckpointBuilder(files)
    if has_adapters(files) or not group(path for path in files.entries if "/" not in path):
        add_adapters(builder)
    else:
        add_weights(builder)
    base = _base_of(builder)
    if not any(component.kind == "model" for component in builder.components):
        builder.role("model", Presence.NOT_NEEDED, base, _BASE)
    add_tokenizer(builder)
    return builder.checkpoint(match, assets=_assets(builder), metadata={"base_model": base} if base else {})


def _base_of(builder: CheckpointBuilder) -> str:
    for component in builder.components:
        state = component.state
        if component.kind == "config" and isinstance(state, dict):
            base = state.get("base_model_name_or_path")
            if isinstance(base, str) and base:
                return base
    return ""


def _assets(builder: CheckpointBuilder) -> list[Asset]:
    taken = {role.where for role in builder.roles}
    return [asset for asset in assets_beside(builder.files) if asset.path not in taken]
