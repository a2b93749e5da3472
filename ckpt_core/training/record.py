"""A run's record of itself.

How far it is, how well it did, which attempt it is, and what it runs on.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Any
from uuid import uuid4

from ckpt_core.arguments import argument
from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.schema.text import printable
from ckpt_core.version import __version__


@dataclass(frozen=True, slots=True)
class Record:
    """The progress of a run, as a checkpoint of it has it.

    Attributes:
        run: Tells it from other runs.
        attempt: Counts the processes that it has had, from 1.
        step: Steps of the optimizer that are done.
        epoch: As the loader counts, from 0; None where nothing counts them.
        parent: Name of the checkpoint before; None of the first.
        history: The metrics of each save, by its step.
        best: The least and the greatest value of each metric so far, each with its step.
    """

    run: str = field(default_factory=lambda: uuid4().hex)
    attempt: int = 1
    step: int = 0
    epoch: int | None = None
    parent: str | None = None
    history: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    best: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def after(self, step: int, epoch: int | None, metrics: Mapping[str, float], parent: str | None) -> "Record":
        """Return the record of a later step."""
        best = {**self.best, **{name: _better(self.best.get(name), value, step) for name, value in metrics.items()}}
        return replace(
            self, step=step, epoch=epoch, parent=parent, history={**self.history, step: dict(metrics)}, best=best
        )

    def as_state(self) -> dict[str, Any]:
        """Return it as plain state.

        Its step is under the name that readers of checkpoints look for.
        """
        return {
            "global_step": self.step,
            "epoch": self.epoch,
            "metrics": dict(self.history.get(self.step, {})),
            "best": {name: dict(found) for name, found in self.best.items()},
            "history": {step: dict(metrics) for step, metrics in self.history.items()},
            "run": self.run,
            "attempt": self.attempt,
            "parent": self.parent,
        }

    @classmethod
    def of_state(cls, state: Any, where: str) -> "Record":
        """Return the record that `as_state` was called on.

        LoadRefusedError where the state is not one of ours.
        """
        try:
            return cls(
                run=state["run"],
                attempt=int(state["attempt"]),
                step=int(state["global_step"]),
                epoch=state["epoch"],
                parent=state["parent"],
                history=dict(state["history"]),
                best=dict(state["best"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LoadRefusedError(
                f"{where}, progress: it is not that of a Checkpointer ({type(error).__name__}); nothing was changed; "
                "load its parts with training.load_into"
            ) from error


def _better(known: Mapping[str, float] | None, value: float, step: int) -> Mapping[str, float]:
    found = dict(known or {})
    if not isnan(value):
        if value < found.get("least", float("inf")):
            found |= {"least": value, "least_at": step}
        if value > found.get("greatest", float("-inf")):
            found |= {"greatest": value, "greatest_at": step}
    return found


def numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Return metrics as floats: numbers, and tensors and arrays of one element.

    Raises:
        UsageError: One is no number.
    """
    found = {}
    for name, value in (metrics or {}).items():
        plain = (
            value.item()
            if hasattr(value, "item") and getattr(value, "size", None) is not None and _is_one(value)
            else value
        )
        if not isinstance(name, str) or isinstance(plain, bool) or not isinstance(plain, int | float):
            shown = printable(repr(value), 60)
            raise UsageError(f"{argument('metrics')}: {printable(str(name), 60)} is {shown}, and a number is needed")
        found[name] = float(plain)
    return found


def _is_one(value: Any) -> bool:
    count = value.numel() if hasattr(value, "numel") else value.size
    return bool(count == 1)


def environment(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the environment of the run.

    Versions, the commit of the code, and the arguments that its caller names.
    """
    import numpy
    import torch

    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}
    return {
        "versions": {**{name: str(text) for name, text in versions.items()}, "ckpt_core": __version__},
        "git_commit": git_commit(os.getcwd()),
        "arguments": dict(arguments or {}),
        "world_size": 1,
    }


def git_commit(folder: str) -> str | None:
    """Return the commit that a folder is checked out at.

    As its `.git` says; None where it says none.
    """
    while not os.path.lexists(os.path.join(folder, ".git")):
        folder, inner = os.path.dirname(folder), folder
        if folder == inner:
            return None
    head = _line(os.path.join(folder, ".git", "HEAD"))
    name = (head or "").removeprefix("ref: ")
    return _line(os.path.join(folder, ".git", *name.split("/"))) if name != head else head


def _line(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.readline().strip()[:200] or None
    except (OSError, UnicodeDecodeError):
        return None  # packed, or not readable: it is not known then
