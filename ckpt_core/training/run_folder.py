"""The folder of a run: `checkpoint-STEP` for each save, one writer at a time, and nothing of anybody else's touched."""

import os
import re
from contextlib import ExitStack

from ckpt_core.errors import OverwriteError, UnsupportedFormatError
from ckpt_core.log import Logger
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.staging import tidied
from ckpt_core.training.run_lock import holding

_log = Logger(__name__)

_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9]\d*)")
_LEFT = re.compile(r"\.(checkpoint-\d+)\.ckpt-(?:old|removed|stage-.*)")
_REMOVED = ".ckpt-removed"


class RunFolder:
    """A folder of checkpoints that one process writes to.

    Attributes:
        path: Where it is on this machine.
        known: Steps of the checkpoints that are there as far as this process knows: found when it began, or written.
    """

    def __init__(self, run: str) -> None:
        path = local_path(run)
        if path is None:
            raise UnsupportedFormatError(f"{redact(run)}: a run is written to a local path; give one")
        self.path = path
        self.known: set[int] = set()
        self._held = ExitStack()
        self._looked = self._open = False

    def open(self) -> None:
        """Make the folder where it is not there, and keep other writers out until `close`.

        Raises:
            LockedError: Another process trains there.
        """
        if self._open:
            return
        try:
            os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise syscalls.as_ckpt_error(error, self.path) from error
        self._held.enter_context(holding(self.path))
        self._open = True
        self._tidy()

    def close(self) -> None:
        """Let others write there."""
        self._held.close()
        self._open = False

    def look(self) -> list[int]:
        """Return the steps of the checkpoints that are there, the newest first, and know them from now on."""
        self.known = set(self.steps())
        self._looked = True
        return sorted(self.known, reverse=True)

    def know(self, step: int) -> None:
        """Take a checkpoint for this run's, if it is there: a save that failed at its very end may have named it."""
        if os.path.lexists(self.place(step)):
            self.known.add(step)

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that are there; what has another name is nobody's business here."""
        if not os.path.isdir(self.path):
            return []
        return sorted(
            int(found[1]) for name in syscalls.list_names(self.path) if (found := _CHECKPOINT.fullmatch(name))
        )

    def place(self, step: int) -> str:
        """Return the path of a checkpoint."""
        return os.path.join(self.path, f"checkpoint-{step}")

    def refuse_strangers(self) -> None:
        """OverwriteError where there is a checkpoint that this run neither found when it resumed nor wrote."""
        strange = sorted(set(self.steps()) - self.known)
        if strange and not self._looked:
            raise OverwriteError(
                f"{printable(self.place(strange[-1]))}: is there, and this run has not resumed from it; "
                "call resume() before the first step, or give the run another folder; nothing was saved"
            )
        if strange:
            raise OverwriteError(
                f"{printable(self.place(strange[-1]))}: appeared while this run trained: another one writes there; "
                "give each a folder of its own; nothing was saved"
            )

    def remove(self, step: int) -> None:
        """Remove a checkpoint whole: it loses its name first, for good, so that no half of it is ever found."""
        place = self.place(step)
        gone = os.path.join(self.path, f".checkpoint-{step}{_REMOVED}")
        syscalls.remove_tree(gone)
        syscalls.rename(place, gone)
        syscalls.sync_directory(self.path)
        self.known.discard(step)
        syscalls.remove_tree(gone)
        _log.info("removed %s", place)

    def _tidy(self) -> None:
        """End what a process that was killed had begun: its stages go, and what it was about to replace is back."""
        for name in syscalls.list_names(self.path):
            left = _LEFT.fullmatch(name)
            if left is None:
                continue
            if name.endswith(_REMOVED):
                syscalls.remove_tree(os.path.join(self.path, name))
            else:
                with tidied(self.path, left[1]):
                    _log.info("%s: removed what a save that was stopped had left", name)
