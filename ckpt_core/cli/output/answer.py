"""The answer of a command, as data and for a person.

A person gets lines and tables, without any drawing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ckpt_core.errors import CkptError
    from ckpt_core.schema.findings import Finding

_FIRST = (130, 70, 10, 7, 4, 8, 5, 6, 9, 3, 2, 1)
"""The exit code of several is the first of these that occurs: what a script must act on soonest."""


class Table(NamedTuple):
    """Rows of cells under headers; columns named in `right` hold numbers."""

    headers: Sequence[str]
    rows: Iterable[Sequence[str]]
    right: frozenset[str] = frozenset()


Block = str | Table
"""A line of text, or a table."""


class Answer(NamedTuple):
    """The answer of a command.

    Only the form that is printed is made.

    Attributes:
        result: Makes the `result` of the JSON object.
        page: Makes what a person reads.
        brief: Makes what is left of it under `--quiet`.
        findings: What is wrong, or not known.
        exit_code: How the process ends.
        error: Why there is no full answer; its exit code counts then.
        each: Makes the array that `--json` prints in place of one object, where the question was about several.
    """

    result: Callable[[], Any]
    page: Callable[[], Iterable[Block]]
    brief: Callable[[], Iterable[Block]]
    findings: Sequence["Finding"] = ()
    exit_code: int = 0
    error: "CkptError | None" = None
    each: Callable[[], Sequence[Any]] | None = None

    @property
    def final_code(self) -> int:
        return self.exit_code if self.error is None else self.error.exit_code


def first_code(codes: Iterable[int]) -> int:
    """Return the exit code of several answers; 0 where all are."""
    occurring = set(codes)
    return next((code for code in _FIRST if code in occurring), 0)
