"""Reads `meta.pt`, Lightning's state beside model and optimizers.

Each key is a component; what it has not is noted.

Source: lightning `pytorch/trainer/connectors/checkpoint_connector.py` (dump_checkpoint, restore).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt_core import Component, Finding, Presence, Profile, Severity, State, TensorTable
from ckpt_core.layouts import CheckpointBuilder, components_of
from ckpt_fsdp.lightning.detection import META

_SCALER = "MixedPrecision"
"""The key of the precision plugin, whose state is that of the gradient scaler."""

_VERSION = "pytorch-lightning_version"
"""The Trainer's own key; what a program saves with Fabric has the keys that the program chose."""

_SCHEDULES = "lr_schedulers"
_LOOPS = "loops"
_LOADER = ("loops", "fit_loop", "state_dict", "combined_loader")
_NO_RNG = "Lightning saves no random states"
_NO_POSITION = "the loader of the data has no state of its own, and begins anew"
_NO_LOOPS = "without loops the Trainer begins at step 0"
_WEIGHTS_ONLY = "saved with save_weights_only=True"


def add_meta(builder: CheckpointBuilder) -> None:
    """Add the components of `meta.pt`.

    Each component that it would hold gets a role where it is missing or cannot be read.
    """
    known = len(builder.roles)
    builder.tried("progress", META, lambda: _read(builder))
    if any(role.presence is Presence.UNREADABLE for role in builder.roles[known:]):
        builder.role("scheduler", Presence.UNREADABLE, META)
        builder.role("sampler", Presence.UNREADABLE, META)
    if all(component.kind != "rng" for component in builder.components):
        builder.role("rng", Presence.ABSENT, note=_NO_RNG)


def _read(builder: CheckpointBuilder) -> None:
    file = builder.torch(META)
    if file is None:
        message = f"{META}: missing: Lightning writes it last, and does not open this directory without it"
        hint = "the save did not end, or a copy left it out; model and optimizer can be read all the same"
        builder.findings.append(Finding("FS002", Severity.WARNING, message, META, hint=hint))
        for kind in ("scheduler", "sampler", "progress"):
            builder.role(kind, Presence.ABSENT, META)
        return
    root = dict(file.root) if isinstance(file.root, dict) else file.root
    if isinstance(root, dict) and _VERSION in root:
        _add_schedules(builder, root)
        _add_position(builder, root)
        _add_loops(builder, root)
    if isinstance(root, dict) and _SCALER in root:
        builder.add(Component("scaler", TensorTable.of({}), root.pop(_SCALER)), META)
    for component in components_of(root, file.tensors):
        builder.add(_of_meta(component), META)


def _add_schedules(builder: CheckpointBuilder, root: dict[Any, State]) -> None:
    """Note missing or unneeded schedules.

    Nothing for those that there are; an empty list says that the training had none.
    """
    if _SCHEDULES not in root:
        builder.role("scheduler", Presence.ABSENT, META, _WEIGHTS_ONLY)
    elif root[_SCHEDULES] == []:
        del root[_SCHEDULES]
        builder.role("scheduler", Presence.NOT_NEEDED, META, "the training had none")


def _add_loops(builder: CheckpointBuilder, root: Mapping[Any, Any]) -> None:
    """Note missing loops.

    Lightning goes on from the loops; epoch and step beside them are for people.
    """
    if not root.get(_LOOPS):
        builder.role("progress", Presence.ABSENT, META, _NO_LOOPS, needed_for=Profile.RESUME)


def _add_position(builder: CheckpointBuilder, root: Mapping[Any, State]) -> None:
    where: State = dict(root)
    for key in _LOADER:
        where = where.get(key) if isinstance(where, dict) else None
    if where:
        builder.role("sampler", Presence.PRESENT, META, "loops: combined_loader")
    else:
        builder.role("sampler", Presence.ABSENT, META, _NO_POSITION)


def _of_meta(component: Component) -> Component:
    """Return a component of `meta.pt`, never as a model.

    The state of callbacks may hold tensors; no model is kept here.
    """
    return replace(component, kind="progress") if component.kind == "model" else component
