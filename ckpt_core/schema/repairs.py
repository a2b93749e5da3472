"""Proposed file operations that mend a checkpoint: data that can be printed before anything is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RepairAction:
    """One proposed operation.

    Attributes:
        summary: What it does, in one line.
        operation: Its kind: `write`, `rename`, `remove`, `fetch`.
        path: The file it makes or changes, relative to the root.
        arguments: What the operation needs besides, by name.
        lossless: Whether nothing is invented and nothing is lost by it.
    """

    summary: str
    operation: str
    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    lossless: bool = True


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """All proposed operations, by file."""

    actions: tuple[RepairAction, ...] = ()


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """What may be proposed. `accept_loss` allows operations that invent or lose something."""

    accept_loss: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
