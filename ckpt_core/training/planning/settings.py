"""A checkpoint's record of how its training was called.

They are of any layout: batch size, rates, seeds, sizes of the model.

Where trainers keep it: transformers' `training_args.bin` (TrainingArguments) and `trainer_state.json` (TrainerState),
Lightning's `hyper_parameters`, `config.json` of the model, and a bundle's `config.training` and `sampler`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.state import Opaque, State
from ckpt_core.training.objects import TRAINING

Plain = bool | int | float | str

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "max_steps": ("max_steps", "steps", "total_steps", "max_iters"),
    "epochs": ("epochs", "num_train_epochs", "num_epochs", "max_epochs"),
    "learning rate": ("lr", "learning_rate"),
    "batch_size": ("batch_size", "per_device_train_batch_size", "train_batch_size"),
    "accumulate": ("accumulate", "gradient_accumulation_steps", "accumulate_grad_batches"),
    "num_workers": ("num_workers", "workers", "dataloader_num_workers"),
    "world_size": ("world_size", "num_processes"),
    "seed": ("data_seed", "seed"),
}
"""Names under which trainers know one thing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a training, as far as they are recorded.

    Attributes:
        known: Of each thing of `SPELLINGS` its value.
        arguments: Every other argument.
        model: The fields of the model's config.
        callbacks: The state of each callback of transformers, by its class.
    """

    known: Mapping[str, Plain]
    arguments: Mapping[str, Plain] = field(default_factory=dict)
    model: Mapping[str, Plain] = field(default_factory=dict)
    callbacks: Mapping[str, Any] = field(default_factory=dict)


def settings_of(checkpoint: StoredCheckpoint) -> Settings:
    """Return what a checkpoint records; no tensor is read."""
    states = {part.label: _dict(part.state) for part in checkpoint.manifest.components}
    ours, progress, sampler = (states.get(label, {}) for label in (TRAINING, "progress", "sampler"))
    told = _dict(ours.get("arguments")) or states.get("config:training_args", {})
    facts = [_dict(ours.get("data")), sampler, {"world_size": ours.get("world_size")}, told, progress]
    known = {name: value for name in SPELLINGS for value in _values(name, facts)}
    model = {} if "config:training" in states else states.get("config", {})
    named = {spelling for spellings in SPELLINGS.values() for spelling in spellings}
    arguments = {key: value for key, value in _plain(told).items() if key not in named}
    return Settings(known, arguments, _plain(model), _dict(progress.get("stateful_callbacks")))


def given_settings(arguments: Mapping[str, Any]) -> Settings:
    """Return what the next run is called with."""
    plain = _plain({key.replace("-", "_"): value for key, value in arguments.items()})
    known = {name: value for name in SPELLINGS for value in _values(name, [plain])}
    named = {spelling for name in known for spelling in SPELLINGS[name]}
    return Settings(known, {key: value for key, value in plain.items() if key not in named})


def parsed(text: str) -> Plain:
    """Return the value that is typed.

    A number, a truth, or the text itself.
    """
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def arguments_of(text: str) -> dict[str, Any]:
    """Return the arguments in a JSON object, or in such a file.

    Raises:
        UsageError: It is neither.
    """
    try:
        if not text.lstrip().startswith("{"):
            with open(text, encoding="utf-8") as file:
                text = file.read()
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{argument('arguments')}: no JSON object and no file with one ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f"{argument('arguments')}: a JSON object is needed, not a {type(found).__name__}")
    return found


def _values(name: str, facts: list[Mapping[Any, Any]]) -> Iterator[Plain]:
    """Yield the value in the first place that has one.

    A count that is not above 0 says that it is not set.
    """
    for place in facts:
        for spelling in SPELLINGS[name]:
            value = place.get(spelling)
            if isinstance(value, bool | int | float | str) and not (name in ("max_steps", "epochs") and _unset(value)):
                yield value
                return


def _unset(value: Plain) -> bool:
    return not isinstance(value, int | float) or value <= 0


def _plain(values: Mapping[Any, Any]) -> dict[str, Plain]:
    return {str(key): value for key, value in values.items() if isinstance(value, bool | int | float | str)}


def _dict(state: State | Any) -> Mapping[Any, Any]:
    inner = state.state if isinstance(state, Opaque) else state
    return inner if isinstance(inner, Mapping) else {}
