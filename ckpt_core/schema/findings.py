"""Findings: what is wrong with a checkpoint, or not known about it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ckpt_core import arguments
from ckpt_core.errors import CkptError, NoAnswerError, ReplacedError


class Severity(IntEnum):
    """The severity of a finding.

    INFO is worth knowing, WARNING may be intended, ERROR means that the checkpoint must not be trusted.
    """

    INFO = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong, or one thing not known.

    `code` keeps its meaning for ever; docs/findings.md explains each.

    Attributes:
        component: The label of the component that cannot be read whole for it; None where that is not so, or where
            the format's own role says it.
    """

    code: str
    severity: Severity
    message: str
    path: str | None = None
    tensor: str | None = None
    hint: str | None = None
    component: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", arguments.message(self.message))
        if self.hint is not None:
            object.__setattr__(self, "hint", arguments.message(self.hint))

    @classmethod
    def of_error(cls, error: CkptError) -> "Finding":
        """Return the ERROR finding for an error about the content.

        An error that says nothing about the content is raised again.
        """
        if isinstance(error, (NoAnswerError, ReplacedError)):
            raise error
        return cls.saying(error)

    @classmethod
    def saying(cls, error: CkptError) -> "Finding":
        """Return an error in the form of a finding, whatever the error."""
        return cls(error.code or "CK001", Severity.ERROR, error.message, error.path, error.tensor, error.hint)

    def as_dict(self) -> dict[str, Any]:
        """Return the form of `--json`."""
        return {
            "code": self.code,
            "severity": self.severity.name.lower(),
            "message": self.message,
            "path": self.path,
            "tensor": self.tensor,
            "hint": self.hint,
            "component": self.component,
        }
