"""Evidence in the content of components about what is there.

Empty content shows that a component is absent, and one component may show that there should be another.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ckpt_core.schema.kinds import WEIGHTS
from ckpt_core.schema.manifests import Component, Manifest

if TYPE_CHECKING:
    from ckpt_core.schema.state import State


def emptiness(component: Component) -> str:
    """Return why a component counts as absent; "" where it doesn't.

    Its state is empty, or its weights have no tensor.
    """
    if len(component.tensors):
        return ""
    if component.state in (None, {}, [], ()):
        return f"{component.state!r} in its place"
    if component.kind in WEIGHTS:
        return "no tensor in its place"
    return "nothing but None in its place" if _is_none(component.state) else ""


def _is_none(state: "State") -> bool:
    """Return True if a tree's leaves are all None, at least one."""
    pending, seen = [state], False
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
        elif item is not None:
            return False
        seen = seen or item is None
    return seen


def scheduled_by(manifest: Manifest, run: Mapping[str, str]) -> str:
    """Return the evidence that the training had a scheduler.

    "" where there is none.

    Source: torch `optim/lr_scheduler.py` (LRScheduler.__init__), which leaves `initial_lr` in every group.
    """
    if any(c.kind == "optimizer" and _has_key(c.state, "initial_lr", 4) for c in manifest.components):
        return "the optimizer's groups have initial_lr, which a scheduler leaves there"
    return f"{run['scheduler']} of the same run has one" if "scheduler" in run else ""


def _has_key(state: "State", key: str, depth: int) -> bool:
    """Return True if one of an optimizer's groups has a key.

    The states, of which there are thousands, are left out.
    """
    if isinstance(state, dict):
        return key in state or any(_has_key(v, key, depth - 1) for k, v in state.items() if depth and k != "state")
    return isinstance(state, list | tuple) and depth > 0 and any(_has_key(item, key, depth - 1) for item in state)
