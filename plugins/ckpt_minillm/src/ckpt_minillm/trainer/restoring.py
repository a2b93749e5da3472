"""Restores the live parts of a training from a resume file.

They are model, optimizer, scheduler and scaler. All of them are compared with the file before the first one changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_core import LoadError, LoadReport, Opaque, State, StoredCheckpoint, TensorRef, UsageError, printable
from ckpt_minillm.filling import fill_model
from ckpt_minillm.resume.keys import component_of, key_of


def restore(checkpoint: StoredCheckpoint, parts: Mapping[str, Any], *, allow_missing: Sequence[str]) -> LoadReport:
    """Set each part to its component.

    Args:
        checkpoint: An open resume file.
        parts: What has `load_state_dict`, by minimind's keys; `model` is one of them.
        allow_missing: Globs of names of models that may stay as they are.

    Returns:
        The report of `model`.

    Raises:
        LoadError: The file lacks a part, or holds one that does not fit.
    """
    labels = {key: _label(checkpoint, key, part) for key, part in parts.items()}
    states = {key: state_of(checkpoint, label) for key, label in labels.items() if not _is_model(parts[key])}
    for key, state in states.items():
        _check(str(checkpoint.location), key, parts[key], state)
    reports = {
        key: fill_model(parts[key], checkpoint, component=label, allow_missing=allow_missing)
        for key, label in labels.items()
        if _is_model(parts[key])
    }
    for key, state in states.items():
        parts[key].load_state_dict(state)
    return reports["model"]


def left_of(checkpoint: StoredCheckpoint, parts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the file's keys that nobody asked for.

    An empty scaler, as a disabled one is saved, is none.
    """
    keys = [
        key_of(component.kind, component.name)
        for component in checkpoint.manifest.components
        if component.kind != "progress" and (len(component.tensors) or component.state)
    ]
    return tuple(key for key in keys if key not in parts)


def state_of(checkpoint: StoredCheckpoint, label: str) -> Any:
    """Return a component as `load_state_dict` takes it.

    Plain values, and tensors each in memory of its own.
    """
    component = checkpoint.component(label)
    tensors = checkpoint.to_torch(label, separate=True) if len(component.tensors) else {}
    return tensors if component.state is None else _live(component.state, tensors)


def _live(state: State, tensors: Mapping[str, Any]) -> Any:
    match state:
        case TensorRef():
            return tensors[state.name]
        case dict():
            return {key: _live(value, tensors) for key, value in state.items()}
        case list():
            return [_live(item, tensors) for item in state]
        case tuple():
            return tuple(_live(item, tensors) for item in state)
        case Opaque():
            raise LoadError(f"a value of class {printable(state.class_name)} cannot be restored: it is not known here")
    return state


def label_of(key: str) -> str:
    """Return the label of the component that a key holds.

    UsageError where a key is not of that form.
    """
    known = component_of(key)
    if known is None:
        raise UsageError(f"{printable(key)}: no name of a part; end it in _model, _optimizer, _scheduler or _scaler")
    return ":".join(filter(None, known))


def _label(checkpoint: StoredCheckpoint, key: str, part: Any) -> str:
    label = label_of(key)
    if not hasattr(part, "load_state_dict"):
        raise UsageError(f"{printable(key)}: a {type(part).__name__} has no load_state_dict, and cannot be restored")
    labels = [component.label for component in checkpoint.manifest.components]
    if label not in labels:
        keys = ", ".join(key_of(c.kind, c.name) for c in checkpoint.manifest.components if c.kind != "progress")
        raise LoadError(
            f"{checkpoint.location}: has no {printable(key)} (it has {keys}); nothing was restored; "
            "it is another trainer's file, or start anew with --from_resume 0"
        )
    return label


def _check(where: str, key: str, part: Any, state: Any) -> None:
    """Raise LoadError for a state that doesn't fit a part.

    `load_state_dict` would refuse it, or take it and be wrong.
    """
    if not hasattr(part, "param_groups"):
        if not state and getattr(part, "is_enabled", bool)():
            raise LoadError(
                f"{where}: {key} was saved disabled, and this one is enabled; train with the same precision"
            )
        return
    groups = state.get("param_groups") if isinstance(state, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise LoadError(f"{where}: {key} is not the state of an optimizer; nothing was restored")
    stored = [len(group.get("params", ())) for group in groups]
    wanted = [len(group["params"]) for group in part.param_groups]
    if stored != wanted:
        raise LoadError(
            f"{where}: {key} has groups of {stored} parameters, this one of {wanted}; nothing was restored; "
            "is it another model's, or were other layers frozen?"
        )


def _is_model(part: Any) -> bool:
    return hasattr(part, "named_parameters")
