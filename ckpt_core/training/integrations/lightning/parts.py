"""Turns the dict that Lightning saves into parts, and back.

Source: lightning `pytorch/trainer/connectors/checkpoint_connector.py` (dump_checkpoint).
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core.errors import LoadRefusedError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.training.objects import GRADIENTS
from ckpt_core.training.values import torch_state

OWN = "ckpt"
"""The key of what is ours in Lightning's dict."""

OPTIMIZERS, SCHEDULERS = "optimizer_states", "lr_schedulers"

_LISTS = {OPTIMIZERS: "optimizer", SCHEDULERS: "scheduler"}
_LABELS = {"state_dict": "model", "MixedPrecision": "scaler", "hyper_parameters": "config"}
_CALLBACKS, _MORE = "progress:callbacks", "progress:more"
_PROGRESS = ("epoch", "global_step", "pytorch-lightning_version", "loops")
_OWN_LABELS = {"rng": "rng", "sampler": "sampler", "gradients": GRADIENTS}


def label_of(kind: str, number: int) -> str:
    """Return the label of one of several optimizers or schedules."""
    return f"{kind}:{number}" if number else kind


def parts_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a dict of Lightning's by label."""
    rest = dict(checkpoint)
    own = dict(rest.pop(OWN, {}))
    progress = {key: rest.pop(key) for key in _PROGRESS if key in rest}
    parts = {label: rest.pop(key) for key, label in _LABELS.items() if key in rest}
    for key, kind in _LISTS.items():
        if key in rest:
            states = rest.pop(key)
            progress[key] = len(states)
            parts |= {label_of(kind, number): state for number, state in enumerate(states)}
    parts |= {label: own.pop(key) for key, label in _OWN_LABELS.items() if own.get(key)}
    if callbacks := rest.pop("callbacks", None):
        parts[_CALLBACKS] = callbacks
    if rest:
        parts[_MORE] = rest
    return {**parts, "progress": {**progress, OWN: own}}


def checkpoint_of(stored: StoredCheckpoint) -> dict[str, Any]:
    """Return the dict of Lightning's that a checkpoint was made of.

    Its tensors are on the CPU.

    Raises:
        LoadRefusedError: `BundleIO` did not write it.
        CkptError: It cannot be read.
    """
    progress_of(stored)
    parts = {part.label: torch_state(stored, part) for part in stored.manifest.components}
    progress = parts.pop("progress")
    own = progress.pop(OWN)
    found = {key: [parts.pop(label_of(kind, n)) for n in range(progress.pop(key))] for key, kind in _lists(progress)}
    found |= {key: parts.pop(label) for key, label in _LABELS.items() if label in parts}
    own |= {key: parts.pop(label) for key, label in _OWN_LABELS.items() if label in parts}
    callbacks = {"callbacks": parts.pop(_CALLBACKS, {})} if OPTIMIZERS in found else {}
    return {**progress, **found, **callbacks, **parts.pop(_MORE, {}), OWN: own}


def _lists(progress: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, kind) for key, kind in _LISTS.items() if key in progress]


def progress_of(stored: StoredCheckpoint) -> dict[str, Any]:
    """Return the plain state of a checkpoint's progress.

    LoadRefusedError where `BundleIO` did not write it.
    """
    labels = [part.label for part in stored.manifest.components]
    state: Any = stored.component("progress").state if "progress" in labels else None
    if not isinstance(state, dict) or not isinstance(state.get(OWN), dict) or "loops" not in state:
        raise LoadRefusedError(
            f"{stored.location}: no training of Lightning wrote it through BundleIO; load its weights with "
            "ckpt_core.load_into, or go on with what wrote it; nothing was changed"
        )
    return state
