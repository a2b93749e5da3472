"""Repairs: proposed file operations, printable before they run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ckpt_core.arguments import message


class Operation(Enum):
    """A repair's change of a file: write, rename or remove.

    WRITE gives it new content, RENAME another name.
    """

    WRITE = "write"
    RENAME = "rename"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class RepairAction:
    """One file operation that a plugin proposes.

    Attributes:
        summary: What it does, in one line.
        operation: What is done to the file.
        path: The file it makes, changes or removes, relative to the root.
        data: Its new content, for a write.
        source: The file that gets this name, for a rename.
        lossless: Whether nothing is invented and nothing is lost by it.
        invents: Labels of components whose content is made up by it, each with how; they stay marked as synthesized.
    """

    summary: str
    operation: Operation
    path: str
    data: bytes = b""
    source: str = ""
    lossless: bool = True
    invents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Irreparable:
    """A finding that no repair can mend, and why.

    `code` and `path` name the finding; `reason` says what would be needed.
    """

    reason: str
    code: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", message(self.reason))


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """All proposed operations, by file.

    Attributes:
        actions: What may be done.
        withheld: What would invent or lose something, and was not allowed to.
        beyond: What the plugins say that nothing can mend.
    """

    actions: tuple[RepairAction, ...] = ()
    withheld: tuple[RepairAction, ...] = ()
    beyond: tuple[Irreparable, ...] = ()


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """The limits and options of a repair.

    `accept_loss` allows operations that invent or lose something; plugins propose those in any case.
    """

    accept_loss: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
