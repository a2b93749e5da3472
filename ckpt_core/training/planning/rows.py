"""Rows of a plan, and the errors of those that are refused.

They come as they are found.
"""

from typing import Any

from ckpt_core.arguments import marked
from ckpt_core.errors import CkptError
from ckpt_core.training.planning.plan import Effect, PlanRow


class Rows:
    """A plan in the making.

    Attributes:
        rows: What was found so far.
        errors: What each refusal is raised with.
    """

    def __init__(self) -> None:
        self.rows: list[PlanRow] = []
        self.errors: list[CkptError] = []

    def add(self, what: str, saved: Any, given: Any, effect: Effect = Effect.RESTORED, note: str = "") -> None:
        """Add a row of what is not compared."""
        self.rows.append(PlanRow(what, saved, given, effect, note))

    def compare(self, what: str, saved: Any, given: Any, note: str = "", *, saved_counts: bool = False) -> None:
        """Add a row of two plain values.

        Where they differ, one counts, and the note says what follows.

        Nothing is added where neither is known.
        """
        if saved is None and given is None:
            return
        if saved is None:
            self.add(what, saved, given, Effect.MISSING, "it was not saved")
        elif given is None:
            self.add(what, saved, given, Effect.UNUSED, note)
        elif saved == given:
            self.add(what, saved, given)
        else:
            effect = Effect.RESTORED if saved_counts else Effect.OVERRIDDEN
            self.rows.append(PlanRow(what, saved, given, effect, note, differs=True))

    def of(self, what: str) -> PlanRow | None:
        """Return the row of a thing; None where there is none yet."""
        return next((row for row in self.rows if row.what == what), None)

    def refuse(self, what: str, error: CkptError, saved: Any = None, given: Any = None) -> None:
        """Add a row for which the training does not go on."""
        self.rows.append(PlanRow(what, saved, given, Effect.REFUSED, error.message))
        self.errors.append(error)

    def raise_refused(self) -> None:
        """Raise the first refusal, if any, with the number of the others.

        Raises:
            CkptError: What was refused.
        """
        if not self.errors:
            return
        first, more = self.errors[0], len(self.errors) - 1
        if more:
            raise type(first)(f"{marked(first.message)}; {more} more are refused: Checkpointer.plan() shows all")
        raise first
