"""The training step of a checkpoint: what its own content records, and what its name claims."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core.schema.state import State

_KEYS = ("global_step", "global_steps", "step", "steps", "train_steps", "iteration", "iter", "current_iteration")
"""Keys under which trainers keep the number of steps done: Lightning, DeepSpeed, minimind, BAGEL, Megatron."""

_NAME = re.compile(
    r"(?:checkpoint|ckpt|global_?steps?|steps?|iteration|iter)[-_=]?(\d{1,18})(?![\d.]*\d)", re.IGNORECASE
)
_NUMBER = re.compile(r"\d{1,18}")


def step_of_state(state: "State") -> int | None:
    """The step that a dict of progress records under one of the usual keys; None where there is none."""
    if not isinstance(state, dict):
        return None
    for key in _KEYS:
        value = state.get(key)
        if type(value) is int and value >= 0:
            return value
    return None


def step_of_name(name: str) -> int | None:
    """The step in the name of a file or directory: `checkpoint-400`, `epoch=1-step=8.ckpt`, `0000400`."""
    stem = name.rpartition("/")[2]
    if _NUMBER.fullmatch(stem):
        return int(stem)
    found = _NAME.findall(stem)
    return int(found[-1]) if found else None
