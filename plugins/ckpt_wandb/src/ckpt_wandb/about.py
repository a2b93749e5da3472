"""The metadata of an artifact.

What it says of the checkpoint in it is read off the files.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_core import Checkpoint, CkptError, fingerprint, inspect, list_files, read_seal

_COUNTED = ("step", "epoch", "total_flos")
"""What a line of transformers' log has beside metrics."""


def about(place: str) -> dict[str, Any]:
    """Return `format`, `step`, `components`, `metrics` and `fingerprint` of a checkpoint.

    Args:
        place: A folder or file of this machine. Nothing is returned where it holds none, or several.
    """
    try:
        checkpoint = inspect(place).checkpoint
        if checkpoint is None:
            return {}
        sealed = read_seal(list_files(place))
        known = {} if sealed is None else sealed.components
        digests = {label: known.get(label) or fingerprint(checkpoint, label).digest for label in _labels(checkpoint)}
    except CkptError:
        return {}
    states = [one.state for one in checkpoint.manifest.components if isinstance(one.state, Mapping)]
    return {
        "format": checkpoint.match.format,
        "step": checkpoint.match.step if checkpoint.match.step is not None else _first(states, "global_step"),
        "components": [one.label for one in checkpoint.manifest.components],
        "metrics": dict(_metrics(states)),
        "fingerprint": digests,
    }


def _labels(checkpoint: Checkpoint) -> list[str]:
    return [one.label for one in checkpoint.manifest.components if len(one.tensors)]


def _first(states: Sequence[Mapping[str, Any]], name: str) -> Any:
    return next((state[name] for state in states if state.get(name) is not None), None)


def _metrics(states: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield the last value of each logged number.

    They are those that transformers' Trainer logged, and the best of the one it goes by.
    """
    for state in states:
        history = state.get("log_history")
        for line in history if isinstance(history, list) else ():
            if isinstance(line, Mapping):
                yield from ((str(name), value) for name, value in line.items() if _is_metric(name, value))
        if _is_metric("best_metric", state.get("best_metric")):
            yield "best_metric", state["best_metric"]


def _is_metric(name: object, value: object) -> bool:
    return name not in _COUNTED and isinstance(value, int | float) and not isinstance(value, bool)
