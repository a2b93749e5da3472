"""Plans a checkpoint of ModularTrainer.

A model directory as transformers reads it, and everything else of a training in `training_state.pt`, which `torch.load`
opens with `weights_only=True`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ckpt_core import (
    Checkpoint,
    Component,
    FilePlan,
    Literal,
    Manifest,
    State,
    Target,
    UnsupportedFormatError,
    UsageError,
    argument,
    printable,
)
from ckpt_core.codecs import plain_state, plan_torch
from ckpt_hf.model.layouts import as_json
from ckpt_hf.model.writing import plan_model
from ckpt_hf.training_state.detection import NAME, STATE
from ckpt_hf.training_state.keys import COMPONENTS, GENERATION, GENERATION_FILE, PROGRESS, key_of

_IN_FILES = ("model", "config", GENERATION)
_RANDOM = ("python_rng_state", "numpy_rng_state", "torch_rng_state")
"""What ModularTrainer restores random states from."""


def write(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write a model directory and the state of its training.

    Raises:
        UnsupportedFormatError: There is no model, or something that no file of the format holds.
        UsageError: An option has a value that it cannot have.
    """
    by_label = {component.label: component for component in checkpoint.manifest.components}
    _check(by_label)
    plan = plan_model(checkpoint, [by_label["model"]], by_label.get("config"), target.options)
    beside = tuple(_generation(by_label.get(GENERATION)))
    taken = {STATE, *(file.path for file in beside)}
    files = tuple(file for file in plan.files if file.path not in taken)
    state = [component for label, component in by_label.items() if label not in _IN_FILES]
    stated = {label: key_of(label) for label in by_label if label not in ("model", PROGRESS)}
    kept = plan_torch(STATE, state, arrange=lambda trees: _arranged(trees, stated), of=checkpoint)
    return target.write(replace(plan, files=(*files, *beside, kept)), checkpoint)


def _check(by_label: Mapping[str, Component]) -> None:
    if "model" not in by_label:
        raise UnsupportedFormatError(
            f"{NAME} holds a model and its training, this checkpoint has "
            f"{', '.join(map(printable, by_label)) or 'nothing'}; write it as torch"
        )
    if by_label["model"].state is not None:
        raise plain_state(by_label["model"], NAME)
    progress = by_label.get(PROGRESS)
    if progress is None or not isinstance(progress.state, dict) or type(progress.state.get("global_step")) is not int:
        raise UnsupportedFormatError(
            f"{NAME} needs a global_step, a whole number, in progress; write the model alone as hf"
        )
    random = by_label["rng"].state if "rng" in by_label else None
    if random is not None and not (isinstance(random, dict) and all(name in random for name in _RANDOM)):
        raise UnsupportedFormatError(
            f"{NAME} keeps random states under {', '.join(_RANDOM)}, and these are others; go on from the checkpoint "
            f"with a Checkpointer that writes {NAME}, or leave them out with {argument('components')}"
        )


def _arranged(trees: Mapping[str, State], stated: Mapping[str, str]) -> State:
    root: dict[Any, State] = dict(_items(trees[PROGRESS]))
    parts = {key: trees[label] for label, key in stated.items() if label in trees}
    taken = root.keys() & {*parts, COMPONENTS}
    if taken:
        raise UsageError(f"progress has {printable(str(min(taken, key=str)))}, a key of its own in {STATE}; rename it")
    return {**root, **parts, COMPONENTS: dict(stated)}


def _items(state: State) -> Mapping[Any, State]:
    return state if isinstance(state, dict) else {}


def _generation(component: Component | None) -> Iterator[FilePlan]:
    """Yield the plan of the config of a text's generation.

    transformers keeps it in a file of its own.
    """
    if component is None:
        return
    text = as_json(component.state)
    if len(component.tensors) or json.loads(text) != component.state:
        raise UnsupportedFormatError(f"{GENERATION_FILE}: a JSON object, and this one is more than that")
    yield FilePlan(GENERATION_FILE, (Literal(text),))
