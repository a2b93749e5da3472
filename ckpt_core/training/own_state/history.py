"""The metrics of every step of a run.

A checkpoint keeps them as two tensors a metric.
"""

from array import array
from collections.abc import Mapping
from typing import Any

from ckpt_core.training.record import numbers


class History:
    """The value of each metric at each step that was told.

    Values on a device are taken from there when the history is saved, so that no step waits for one.
    """

    def __init__(self) -> None:
        self._told: list[tuple[int, str, Any]] = []
        self._steps: dict[str, array[int]] = {}
        self._values: dict[str, array[float]] = {}

    def add(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """Note the metrics of a step.

        Those of the same step are replaced.

        Raises:
            UsageError: One is no number; none was noted.
        """
        known = metrics or {}
        plain = numbers({name: value for name, value in known.items() if not _on_a_device(value)})
        later = {name: value.detach() for name, value in known.items() if _on_a_device(value)}
        self._told += [(step, name, value) for name, value in {**plain, **later}.items()]

    def of(self, name: str) -> dict[int, float]:
        """Return the values of a metric by step."""
        self._take()
        return dict(zip(self._steps.get(name, ()), self._values.get(name, ()), strict=True))

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return each metric's `steps` and `values`.

        I64 and F64, both of shape [number of steps].
        """
        import torch

        self._take()
        return {
            name: {
                "steps": torch.tensor(steps, dtype=torch.int64),
                "values": torch.tensor(self._values[name], dtype=torch.float64),
            }
            for name, steps in self._steps.items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from the history of a checkpoint."""
        self._told = []
        self._steps = {name: array("q", held["steps"].tolist()) for name, held in state_dict.items()}
        self._values = {name: array("d", held["values"].tolist()) for name, held in state_dict.items()}

    def _take(self) -> None:
        told, self._told = self._told, []
        for step, name, value in told:
            steps, values = self._steps.setdefault(name, array("q")), self._values.setdefault(name, array("d"))
            if steps and steps[-1] == step:
                values[-1] = float(value)
            else:
                steps.append(step)
                values.append(float(value))


def _on_a_device(value: Any) -> bool:
    """Return whether a value is a number on a device.

    One that would have to be waited for.
    """
    return hasattr(value, "detach") and value.numel() == 1
