"""Names of the parts of a training in `training_state.pt`.

They are those of ModularTrainer, and labels for what it has no key for.

Which part stands under which key is in the file too, so that what we wrote is read without a guess.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_hf.names import CONFIG

KEYS = {"optimizer": "optimizer_state_dict", "scheduler": "scheduler_state_dict", "rng": "rng_states"}
"""Of a label, its key in the file of ModularTrainer."""

COMPONENTS = "ckpt_components"
"""The key of what says which component stands under which key."""

GENERATION = "config:generation"
GENERATION_FILE = "generation_config.json"

FILES = {"config": CONFIG, GENERATION: GENERATION_FILE}
"""Of a label, the name of the file of its own."""

PROGRESS = "progress"
"""Its items stand at the top, beside the keys of the others."""


def key_of(label: str) -> str:
    """Return the place of a component.

    A key of the file, or the name of a file of its own.
    """
    return FILES.get(label) or KEYS.get(label, label)


def stated_keys(root: Any) -> Mapping[str, str] | None:
    """Return the key of each component as the file states it.

    None where ModularTrainer itself wrote it.
    """
    stated = root.get(COMPONENTS) if isinstance(root, dict) else None
    if not isinstance(stated, dict) or not all(isinstance(text, str) for pair in stated.items() for text in pair):
        return None
    return stated if all(key in root or key in FILES.values() for key in stated.values()) else None
