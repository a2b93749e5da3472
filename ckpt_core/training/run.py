"""A run: `checkpoint-STEP` for each save.

One writer at a time, in a folder of this machine or in a store.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from ckpt_core.errors import OverwriteError
from ckpt_core.schema.text import redact

CHECKPOINT = re.compile(r"checkpoint-(0|[1-9]\d*)")


class Run(ABC):
    """The checkpoints of a run that one process writes.

    Attributes:
        path: Where it is: a path of this machine, or a URL.
        known: Steps of the checkpoints that are there as far as this process knows: found when it began, or written.
        proved_by_save: Whether a save there reads back what was put, from where it will be read.
        only_removes: Whether nothing can be made thin or put aside there.
    """

    path: str
    proved_by_save = False
    only_removes = False

    def __init__(self) -> None:
        self.known: set[int] = set()
        self._looked = False

    @abstractmethod
    def open(self) -> None:
        """Make it ready, and keep other writers out until `close`.

        LockedError where another process trains there.
        """

    @abstractmethod
    def close(self) -> None:
        """Let others write there."""

    @abstractmethod
    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that are there.

        What has another name is nobody's business here.
        """

    @abstractmethod
    def is_there(self, step: int) -> bool:
        """Return whether there is a checkpoint of a step."""

    @abstractmethod
    def remove(self, step: int) -> None:
        """Remove a checkpoint whole.

        It is none any more before the first part of it goes, for good.
        """

    @abstractmethod
    def put_aside(self, step: int) -> None:
        """Put a checkpoint aside, so that it can be brought back."""

    def named(self) -> Mapping[int, Sequence[str]]:
        """Return the steps that something else names, with the names.

        None of them may be removed. They are of the last `steps`.
        """
        return {}

    @abstractmethod
    def committed_at(self, step: int) -> float:
        """Return when a checkpoint was sealed, in seconds since 1970."""

    def place(self, step: int) -> str:
        """Return the path or URL of a checkpoint."""
        return f"{self.path.rstrip('/')}/checkpoint-{step}"

    def look(self) -> list[int]:
        """Return the steps of the checkpoints that are there.

        The newest first; they are known from now on.
        """
        self.known = set(self.steps())
        self._looked = True
        return sorted(self.known, reverse=True)

    def know(self, step: int) -> None:
        """Take a checkpoint for this run's, if it is there.

        A save that failed at its very end may have named it.
        """
        if self.is_there(step):
            self.known.add(step)

    def refuse_strangers(self) -> None:
        """Refuse a checkpoint of unknown origin.

        OverwriteError where this run neither found it when it resumed nor wrote it.
        """
        strange = sorted(set(self.steps()) - self.known)
        if strange and not self._looked:
            raise OverwriteError(
                f"{redact(self.place(strange[-1]))}: is there, and this run has not resumed from it; "
                "call resume() before the first step, or give the run another folder; nothing was saved"
            )
        if strange:
            raise OverwriteError(
                f"{redact(self.place(strange[-1]))}: appeared while this run trained: another one writes there; "
                "give each a folder of its own; nothing was saved"
            )
