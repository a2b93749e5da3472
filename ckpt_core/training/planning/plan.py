"""The plan of a resume as data.

A row for each thing that was saved or is given, with what happens to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ckpt_core.schema.text import printable

_LONGEST = 60
"""Characters of a value that a table shows."""


class Effect(Enum):
    """The effect of a resume on a thing."""

    RESTORED = "restored"
    """What was saved counts."""
    OVERRIDDEN = "overridden"
    """What is given counts, in place of what was saved."""
    MISSING = "missing"
    """Nothing was saved of it."""
    UNUSED = "unused"
    """Nothing is given that it could be restored to."""
    REFUSED = "refused"
    """The training does not go on before somebody decides."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One thing, and what becomes of it.

    Attributes:
        what: The label of a component, or of a setting of one: `optimizer group 0: learning rate`.
        saved: A plain value, or a few words for what is large; None where nothing was saved.
        given: The same of the training that goes on; None where nothing is known of it.
        effect: What happens.
        note: Why, or what follows from it; of a refusal the whole message.
        differs: Whether both were compared, and are not the same.
    """

    what: str
    saved: Any
    given: Any
    effect: Effect
    note: str = ""
    differs: bool = False

    def sentence(self) -> str:
        """Return the row in words."""
        more = f"; {self.note}" if self.note else ""
        if self.effect is Effect.REFUSED:
            return self.note
        if self.effect is Effect.OVERRIDDEN:
            return f"{self.what} was {shown(self.saved)} and is {shown(self.given)}{more}"
        if self.differs:
            return f"{self.what} {shown(self.saved)}, of the checkpoint (the other one is {shown(self.given)}){more}"
        return f"{self.what}: {self.effect.value}{more}"


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """The plan of a resume.

    The checkpoint that a training goes on from, and what happens to each of its parts.

    Attributes:
        location: The checkpoint; None where there is none, and the training begins.
        step: Steps of the optimizer that are done.
        epoch: Passes over the data that are done, as the loop counts them; None where that is not known.
        rows: What happens.
        rejected: Newer checkpoints that were passed over, each with the reason.
    """

    location: str | None = None
    step: int = 0
    epoch: float | None = None
    rows: tuple[PlanRow, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> tuple[PlanRow, ...]:
        """Rows for which the training does not go on."""
        return tuple(row for row in self.rows if row.effect is Effect.REFUSED)

    @property
    def changed(self) -> tuple[PlanRow, ...]:
        """Return the rows of changes that let the training go on."""
        return tuple(row for row in self.rows if row.differs and row.effect is not Effect.REFUSED)

    def row(self, what: str) -> PlanRow | None:
        """Return the row of a thing; None where there is none."""
        return next((row for row in self.rows if row.what == what), None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        rows = [
            {"what": row.what, "saved": row.saved, "given": row.given, "effect": row.effect.value, "note": row.note}
            for row in self.rows
        ]
        plain = {"location": self.location, "step": self.step, "epoch": self.epoch}
        return {**plain, "rows": rows, "rejected": dict(self.rejected)}

    def table(self) -> str:
        """Return the rows in columns, for a person."""
        if self.location is None:
            return "nothing to go on from: the training begins at step 0"
        rows = [("what", "saved", "given", "happens", "")]
        rows += [cells(row) for row in self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
            for row in rows
        ]
        epoch = "" if self.epoch is None else f", epoch {self.epoch:g}"
        more = [f"passed over {name}: {reason}" for name, reason in self.rejected.items()]
        return "\n".join([f"{self.location}: step {self.step}{epoch}", *lines, *more])


def cells(row: PlanRow) -> tuple[str, str, str, str, str]:
    """Return a row as a table shows it."""
    return row.what, shown(row.saved), shown(row.given), row.effect.value, row.note


def shown(value: Any) -> str:
    """Return a value as a person reads it; nothing of None."""
    if value is None:
        return ""
    return printable(value if isinstance(value, str) else repr(value), _LONGEST)
