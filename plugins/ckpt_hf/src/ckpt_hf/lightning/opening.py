"""Opens a file of Lightning's.

Each optimizer, each schedule, the loops and the callbacks are components of their own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ckpt_core import (
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Presence,
    Profile,
    Severity,
    State,
    StoredCheckpoint,
    argument,
    printable,
)
from ckpt_core.codecs import TorchFile
from ckpt_core.layouts import CheckpointBuilder, component_at, components_of, keyed_components, step_of_state
from ckpt_hf.lightning.detection import VERSION

_SCALERS = ("MixedPrecision", "MixedPrecisionPlugin", "NativeMixedPrecisionPlugin", "native_amp_scaling_state")
_PROGRESS = ("epoch", "global_step", VERSION, "loops", "hparams_name", "hparams_type")
_CURRENT, _AVERAGING = "current_model_state", "averaging_state"
"""Keys of the callback WeightAveraging: the model in training, and what the average is counted with.

Source: lightning `pytorch/callbacks/weight_averaging.py`, which puts the average in the place of the model.
"""

_NOT_AVERAGED = "without it Lightning begins the average anew, and trains the average in place of the model"
_WEIGHTS_ONLY = "saved with save_weights_only=True"
_NO_RNG = "Lightning saves no random states"
_NO_POSITION = "the loader of the data has no state of its own, and begins anew"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read every part of the file as a component.

    Raises:
        CorruptError: The file is damaged.
        UnsafeContentError: PK003, its pickle would run code.
    """
    builder = CheckpointBuilder(files)
    path = next(iter(files.entries))
    file = builder.torch(path)
    assert file is not None
    root = file.root
    if not isinstance(root, dict) or VERSION not in root:
        return _of_another(builder, file, match)
    _add_model(builder, file, root)
    for kind, key in (("optimizer", "optimizer_states"), ("scheduler", "lr_schedulers")):
        _add_each(builder, file, kind, key, root)
    _add_progress(builder, file, root)
    _add_rest(builder, file, root)
    builder.role("rng", Presence.ABSENT, note=_NO_RNG)
    _add_position(builder, root)
    step = step_of_state({"global_step": root.get("global_step")})
    builder.findings += _disagreements(match, step, path)
    return builder.checkpoint(match, step=step, metadata=dict(file.metadata))


def _of_another(builder: CheckpointBuilder, file: TorchFile, match: FormatMatch) -> StoredCheckpoint:
    """Read another trainer's file with one of Lightning's names.

    It has the components that any torch file has.
    """
    message = f"{printable(file.path)}: named as Lightning names its files, and another trainer's; read as a torch file"
    hint = f"{argument('format', 'torch')} opens it as such"
    builder.findings.append(Finding("HT010", Severity.INFO, message, file.path, hint=hint))
    for component in components_of(file.root, file.tensors):
        builder.add(component)
    return builder.checkpoint(match, step=step_of_state(file.root), metadata=dict(file.metadata))


def _add_model(builder: CheckpointBuilder, file: TorchFile, root: Mapping[Any, Any]) -> None:
    if "state_dict" not in root:
        builder.role("model", Presence.ABSENT, "state_dict")
        return
    averaged = _CURRENT in root
    for kind, key in (("ema", "state_dict"), ("model", _CURRENT)) if averaged else (("model", "state_dict"),):
        builder.add(component_at(kind, "", file.tensors, root[key], key), key)
    if averaged and _AVERAGING in root:
        builder.add(component_at("progress", "averaging", file.tensors, root[_AVERAGING], _AVERAGING), _AVERAGING)
    elif averaged:
        builder.role(
            "progress", Presence.ABSENT, _AVERAGING, _NOT_AVERAGED, name="averaging", needed_for=Profile.RESUME
        )


def _add_each(builder: CheckpointBuilder, file: TorchFile, kind: str, key: str, root: Mapping[Any, Any]) -> None:
    """Add a component for each entry of a list.

    An empty list says that the training had none.
    """
    if key not in root:
        builder.role(kind, Presence.ABSENT, key, _WEIGHTS_ONLY)
        return
    entries = root[key]
    if not isinstance(entries, list | tuple) or (not entries and kind == "optimizer"):
        builder.role(kind, Presence.ABSENT, key, f"{printable(repr(entries), 40)} in its place")
    elif not entries:
        builder.role(kind, Presence.NOT_NEEDED, key, "the training had none")
    else:
        for number, entry in enumerate(entries):
            name = str(number) if number else ""
            builder.add(component_at(kind, name, file.tensors, entry, f"{key}.{number}"), f"{key}[{number}]")


def _add_progress(builder: CheckpointBuilder, file: TorchFile, root: Mapping[Any, Any]) -> None:
    """Add the position of the training.

    Lightning goes on from the loops; epoch and step beside them are for people.
    """
    held = {key: root[key] for key in _PROGRESS if key in root}
    builder.components.append(component_at("progress", "", file.tensors, held, ""))
    if root.get("loops"):
        builder.role("progress", Presence.PRESENT, "loops")
    else:
        builder.role("progress", Presence.ABSENT, "loops")
    if "callbacks" in root:
        builder.add(component_at("progress", "callbacks", file.tensors, root["callbacks"], "callbacks"), "callbacks")


def _add_rest(builder: CheckpointBuilder, file: TorchFile, root: Mapping[Any, Any]) -> None:
    """Add the gradient scaler, hyperparameters and the program's own."""
    for key in _SCALERS:
        if key in root:
            builder.add(component_at("scaler", "", file.tensors, root[key], key), key)
            break
    averages = {_CURRENT, _AVERAGING} if _CURRENT in root else set()
    known = {"state_dict", "optimizer_states", "lr_schedulers", "callbacks", *averages, *_PROGRESS, *_SCALERS}
    rest = {key: value for key, value in root.items() if key not in known}
    taken = {component.label for component in builder.components}
    for keys, component in keyed_components(rest, file.tensors) if rest else ():
        named = component if component.label not in taken else replace(component, name=".".join(keys) or "saved")
        taken.add(named.label)
        builder.components.append(named)


def _add_position(builder: CheckpointBuilder, root: Mapping[Any, Any]) -> None:
    where: State = dict(root)
    for key in ("loops", "fit_loop", "state_dict", "combined_loader"):
        where = where.get(key) if isinstance(where, dict) else None
    if where:
        builder.role("sampler", Presence.PRESENT, "loops: combined_loader")
    else:
        builder.role("sampler", Presence.ABSENT, "loops: combined_loader", _NO_POSITION)


def _disagreements(match: FormatMatch, step: int | None, path: str) -> Iterator[Finding]:
    if step is not None and match.step is not None and step != match.step:
        message = f"{printable(path)}: its name says step {match.step}, global_step in it is {step}; the content counts"
        hint = "it was renamed, or copied over another"
        yield Finding("HT001", Severity.WARNING, message, path, hint=hint)
