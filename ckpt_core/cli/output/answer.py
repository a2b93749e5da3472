"""What a command answers: its result as data, and the same for a person, as lines and tables without any drawing."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ckpt_core.errors import CkptError
    from ckpt_core.schema.findings import Finding


class Table(NamedTuple):
    """Rows of cells under headers; columns named in `right` hold numbers."""

    headers: Sequence[str]
    rows: Iterable[Sequence[str]]
    right: frozenset[str] = frozenset()


Block = str | Table
"""A line of text, or a table."""


class Answer(NamedTuple):
    """What a command found. Only the form that is printed is made.

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
