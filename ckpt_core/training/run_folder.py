"""The folder of a run: `checkpoint-STEP` for each save, one writer at a time, and nothing of anybody else's touched."""

import os
import re
from contextlib import ExitStack

from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.log import Logger
from ckpt_core.schema.text import redact
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.staging import tidied
from ckpt_core.training.run import CHECKPOINT, Run
from ckpt_core.training.run_lock import holding

_log = Logger(__name__)

_LEFT = re.compile(r"\.(checkpoint-\d+)\.ckpt-(?:old|removed|stage-.*)")
_REMOVED = ".ckpt-removed"


class RunFolder(Run):
    """A run in a folder of this machine."""

    def __init__(self, run: str) -> None:
        super().__init__()
        path = local_path(run)
        if path is None:
            raise UnsupportedFormatError(f"{redact(run)}: is no path of this machine; give one")
        self.path = path
        self._held = ExitStack()
        self._open = False

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
        self._held.close()
        self._open = False

    def is_there(self, step: int) -> bool:
        return os.path.lexists(self.place(step))

    def steps(self) -> list[int]:
        if not os.path.isdir(self.path):
            return []
        return sorted(int(found[1]) for name in syscalls.list_names(self.path) if (found := CHECKPOINT.fullmatch(name)))

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
