"""The record of a training in a checkpoint's plain state.

It has how far the training was, how well it did, and which software wrote it.

Where trainers keep it: transformers' `trainer_state.json` (TrainerState: best_metric, log_history), Lightning's
callbacks (ModelCheckpoint: monitor, best_model_score), torch's `param_groups`, and a training loop's own keys, such as
`best_acc1` (pytorch/examples/imagenet) or `best_val_loss` (nanoGPT).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from ckpt_core.layouts.steps import EPOCHS, count_of_state, counts_of_state, scalar_reader
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.kinds import WEIGHTS
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import Array, Opaque, State, TensorRef

_DEEPEST = 4
_LAST = 3
"""Losses of one name that are kept, the last ones."""

_HUGE = 1 << 63
_RELEASE = re.compile(r"\d+\.\d+\S*")
_LOSSES = re.compile(r"(?:.*_)?loss(?:es|_history)?", re.IGNORECASE)
_COUNTERS = ("step", "steps", "epoch", "iter", "iteration", "index", "idx", "rank")


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of a metric.

    `where` is the checkpoint that had it, as the file says.
    """

    name: str
    value: float
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss that was logged; `step` is None where unknown."""

    name: str
    value: float
    step: int | None = None


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """The facts of a training that a checkpoint records.

    None, or nothing, stands for what is not recorded.

    Attributes:
        step: Steps done.
        epoch: Passes over the data.
        best: The best value of each metric that was watched.
        learning_rates: Of the groups of parameters, each value once.
        losses: The last ones of each name, oldest first.
        versions: By the name of the software.
    """

    step: int | None
    epoch: float | None
    best: tuple[Best, ...]
    learning_rates: tuple[float, ...]
    losses: tuple[Loss, ...]
    versions: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the form of `--json`."""
        return asdict(self)


_Number = Callable[[State], float | int | None]


def training_record(checkpoint: StoredCheckpoint) -> TrainingRecord:
    """Collect the training record from the components' plain state.

    Only tensors of one element are read.
    """
    manifest = checkpoint.manifest
    others = [component for component in manifest.components if component.kind not in (*WEIGHTS, "tokenizer", "rng")]
    progress = [(one, _reader(checkpoint, one)) for one in others if one.kind == "progress"]
    optimizers = [(one, _reader(checkpoint, one)) for one in others if one.kind == "optimizer"]
    said = [dict(manifest.metadata), *(one.state for one in others)]
    losses = [loss for one, number in progress for loss in _losses(one.state, number)]
    return TrainingRecord(
        step=checkpoint.match.step
        if manifest.step is None or _is_of_epochs(manifest.step, progress)
        else manifest.step,
        epoch=next((epoch for one, number in progress for epoch in _epochs(one.state, number)), None),
        best=tuple(best for one, number in progress for best in _bests(one.state, number, _watched(others))),
        learning_rates=_rates(optimizers, others),
        losses=tuple(losses),
        versions={name: version for state in said for name, version in _versions(state).items()},
    )


def _is_of_epochs(step: int, progress: "list[tuple[Component, _Number]]") -> bool:
    """Return True if the manifest's step counts epochs.

    That is so where nothing counts steps.
    """
    counts = [count for one, _ in progress for count in [count_of_state(one.state)] if count is not None]
    return bool(counts) and counts[0].of_epochs and counts[0].value == step


def _reader(checkpoint: StoredCheckpoint, component: Component) -> _Number:
    scalar = scalar_reader(checkpoint.files, component.tensors, checkpoint.confirm)

    def number(value: State) -> float | int | None:
        if isinstance(value, TensorRef):
            value = scalar(value.name)
        elif isinstance(value, Array):
            value = _element(value)
        return value if _is_number(value) else None

    return number


def _is_number(value: Any) -> TypeGuard[float | int]:
    """Return True for a value that a metric can have.

    A pickle's integers may have thousands of digits.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def _element(array: Array) -> float | int | None:
    count = next(counts_of_state({"step": array}), None)
    return None if count is None else count.value


def _dicts(state: State, depth: int = _DEEPEST, *, but: str = "") -> Iterator[Mapping[Any, Any]]:
    """Yield a tree's dicts, the outer ones first.

    It leaves out those in lists, and what is below the key `but`.
    """
    level: list[State] = [state]
    seen: set[int] = set()  # a pickle may hold one dict under a thousand keys
    for _ in range(depth):
        inner = (one.state if isinstance(one, Opaque) else one for one in level)
        inner_dicts = {id(one): one for one in inner if isinstance(one, dict) and id(one) not in seen}
        seen |= inner_dicts.keys()
        yield from inner_dicts.values()
        level = [value for one in inner_dicts.values() for key, value in one.items() if key != but]


def _epochs(state: State, number: _Number) -> Iterator[float]:
    for place in _dicts(state):
        for key in EPOCHS:
            value = number(place[key]) if key in place else None
            if value is not None and value >= 0:
                yield value


def _bests(state: State, number: _Number, watched: str | None) -> Iterator[Best]:
    for place in _dicts(state):
        for key, kept in place.items():
            if not isinstance(key, str) or not key.lower().startswith("best") or _counts(key):
                continue
            value = number(kept)
            if value is not None:
                monitor = place.get("monitor")
                named = {"best_model_score": monitor, "best_metric": watched}.get(key) or key
                where = place.get("best_model_path", place.get("best_model_checkpoint"))
                yield Best(str(named), value, where if isinstance(where, str) and where else None)


def _counts(key: str) -> bool:
    """Return True if a `best…` key counts steps or epochs.

    Such a key says when the best value was, and not how good.
    """
    return key.lower().rpartition("_")[2] in _COUNTERS


def _watched(components: list[Component]) -> str | None:
    """Return the metric that the Trainer's arguments name."""
    for component in components:
        for place in _dicts(component.state, 1):
            name = place.get("metric_for_best_model")
            if isinstance(name, str):
                return name
    return None


def _losses(state: State, number: _Number) -> Iterator[Loss]:
    for place in _dicts(state):
        history = place.get("log_history")
        if isinstance(history, list):
            yield from _logged(history)
        for key, kept in place.items():
            if isinstance(key, str) and _LOSSES.fullmatch(key) and not key.lower().startswith("best"):
                values = kept[-_LAST:] if isinstance(kept, list | tuple) else [kept]
                yield from (Loss(key, value) for value in map(number, values) if value is not None)


def _logged(history: list[Any]) -> Iterator[Loss]:
    """Yield the last losses of transformers' log.

    Those of training and of evaluation are kept apart.
    """
    entries = [entry for entry in history if isinstance(entry, dict)]
    for name in ("loss", "eval_loss", "train_loss"):
        for entry in [entry for entry in entries if name in entry][-_LAST:]:
            value, step = entry[name], entry.get("step")
            if _is_number(value):
                yield Loss(name, value, step if type(step) is int else None)


def _rates(optimizers: list[tuple[Component, _Number]], others: list[Component]) -> tuple[float, ...]:
    numbers = [
        number(group["lr"])
        for one, number in optimizers
        for place in _dicts(one.state, but="state")
        for group in _groups(place.get("param_groups"))
        if "lr" in group
    ]
    if not numbers:
        last = [place.get("_last_lr") for one in others if one.kind == "scheduler" for place in _dicts(one.state)]
        numbers = [float(rate) for rates in last if isinstance(rates, list) for rate in rates if _is_number(rate)]
    return tuple(dict.fromkeys(float(rate) for rate in numbers if rate is not None))


def _groups(kept: Any) -> list[Mapping[Any, Any]]:
    """Return an optimizer's parameter groups as a list.

    Torch keeps a list of dicts; a distributed checkpoint may keep a dict of them.
    """
    groups = list(kept.values()) if isinstance(kept, dict) else kept if isinstance(kept, list | tuple) else []
    return [group for group in groups if isinstance(group, dict)]


def _versions(state: State) -> dict[str, str]:
    versions: dict[str, str] = {}
    for place in _dicts(state, but="state"):
        for key, value in place.items():
            text = value.args[0] if isinstance(value, Opaque) and value.args else value
            name = key.lower().removesuffix("version").strip("_-. ") if isinstance(key, str) else ""
            if name and key.lower().endswith("version") and isinstance(text, str) and _RELEASE.fullmatch(text):
                versions[name] = text
    return versions
