"""Opens a checkpoint of ModularTrainer, or of a Checkpointer in its layout.

The model, and each part of the training state as a component of its own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import (
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Presence,
    Profile,
    Severity,
    State,
    StoredCheckpoint,
)
from ckpt_core.codecs import TorchFile
from ckpt_core.layouts import CheckpointBuilder, component_at, components_of
from ckpt_hf.beside_state import add_config, add_tokenizer, add_weights, assets_beside
from ckpt_hf.training_state.detection import STATE
from ckpt_hf.training_state.keys import COMPONENTS, FILES, GENERATION_FILE, KEYS, PROGRESS, stated_keys

_STEPS_AN_EPOCH = 3000
"""What fix_all_checkpoints.py divides a step by to have an epoch, whatever the data."""

_NO_ORDER = "its data loader is shuffled without a seed, so the order cannot be had again"
_FIXERS = "the trainer saves it with the optimizer: it is that of the process that wrote the state anew"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the model and the training state.

    Each part of the state is a component of its own.
    """
    builder = CheckpointBuilder(files)
    add_weights(builder, request.options.get("variant"))
    add_tokenizer(builder)
    state = builder.tried("progress", STATE, lambda: _read_state(builder))
    if state is None:
        for kind in KEYS:
            builder.role(kind, Presence.UNREADABLE, STATE, needed_for=Profile.RESUME)
    step = state.get("global_step") if isinstance(state, dict) else None
    step = step if type(step) is int else None
    stated = stated_keys(state)
    add_config(builder, needed=stated is None or "config" in stated)
    if stated is None:
        builder.role("sampler", Presence.ABSENT, note=_NO_ORDER)
    builder.findings += _disagreements(match, step)
    return builder.checkpoint(match, step=step, assets=assets_beside(files))


def _read_state(builder: CheckpointBuilder) -> State:
    file = builder.torch(STATE)
    assert file is not None
    stated = stated_keys(file.root)
    if stated is not None:
        for component in _stated(builder, file, stated):
            builder.add(component, STATE)
        return file.root
    by_kind = {component.kind: component for component in components_of(file.root, file.tensors)}
    held = {kind for kind, component in by_kind.items() if component.state or len(component.tensors)}
    invented = "rng" in held and not held & {"optimizer", "scheduler"}
    for kind, key in KEYS.items():
        where = f"{STATE}: {key}"
        if kind not in held:
            note = "" if kind not in by_kind else f"{by_kind[kind].state!r} in its place"
            builder.role(kind, Presence.ABSENT, where, note, needed_for=Profile.RESUME)
        elif kind == "rng" and invented:
            builder.role(kind, Presence.SYNTHESIZED, where, _FIXERS, needed_for=Profile.EXACT_RESUME)
        else:
            builder.role(kind, Presence.PRESENT, where, needed_for=Profile.RESUME)
    _add_progress(builder, file.root, by_kind.get("progress"), invented)
    builder.components += [component for kind, component in by_kind.items() if kind != "progress"]
    return file.root


def _stated(builder: CheckpointBuilder, file: TorchFile, stated: Mapping[str, str]) -> Iterator[Component]:
    """Yield the components that a file of ours states.

    What is under no key of theirs is the progress.
    """
    root: Any = file.root
    for label, key in stated.items():
        kind, _, name = label.partition(":")
        if key == GENERATION_FILE:
            builder.json_component(kind, key, name=name)
        elif key not in FILES.values():
            yield component_at(kind, name, file.tensors, root[key], key)
    rest = {key: value for key, value in root.items() if key not in {*stated.values(), COMPONENTS}}
    yield component_at(PROGRESS, "", file.tensors, rest, "")


def _add_progress(builder: CheckpointBuilder, root: Any, progress: Component | None, invented: bool) -> None:
    if progress is None:
        builder.role("progress", Presence.ABSENT, STATE)
        return
    builder.components.append(progress)
    step, epoch = root.get("global_step"), root.get("epoch")
    guessed = invented and type(step) is int and epoch == step // _STEPS_AN_EPOCH
    if guessed:
        note = f"step {step} and epoch {epoch} were guessed when the state was written anew"
        builder.role("progress", Presence.SYNTHESIZED, STATE, note)
    else:
        builder.role("progress", Presence.PRESENT, STATE)


def _disagreements(match: FormatMatch, step: int | None) -> Iterator[Finding]:
    if step is not None and match.step is not None and step != match.step:
        message = f"{STATE}: says step {step}, the folder's name says {match.step}; the content counts"
        hint = "it was renamed, or its state was written anew by a repair"
        yield Finding("HT001", Severity.WARNING, message, STATE, hint=hint)
