"""The folder of a run.

`checkpoint-STEP` for each save, one writer at a time, and nothing of anybody else's is touched.
"""

import os
import re
from contextlib import ExitStack

from ckpt_core.errors import CheckpointNotFoundError, OverwriteError, UnsupportedFormatError
from ckpt_core.log import Logger
from ckpt_core.schema.side_files.reserved_names import DIRECTORY_SEAL
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.staging import tidied
from ckpt_core.training.run import CHECKPOINT, Run
from ckpt_core.training.run_lock import holding

_log = Logger(__name__)

_LEFT = re.compile(r"\.(checkpoint-\d+)\.ckpt-(?:old|removed|stage-.*)")
_ASIDE = re.compile(r"\.checkpoint-(0|[1-9]\d*)\.ckpt-deleted")
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
        """Make the folder, and keep other writers out until `close`.

        It is made where it is not there.

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
        """Remove a checkpoint whole.

        It loses its name first, for good, so that no half of it is ever found.
        """
        place = self.place(step)
        gone = os.path.join(self.path, f".checkpoint-{step}{_REMOVED}")
        syscalls.remove_tree(gone)
        syscalls.rename(place, gone)
        syscalls.sync_directory(self.path)
        self.known.discard(step)
        syscalls.remove_tree(gone)
        _log.info("removed %s", place)

    def put_aside(self, step: int) -> None:
        place, aside = self.place(step), self._aside(step)
        syscalls.remove_tree(aside)
        syscalls.rename(place, aside)
        syscalls.sync_directory(self.path)
        self.known.discard(step)
        _log.info("put aside %s", place)

    def put_back(self, step: int) -> None:
        """Bring back a checkpoint that was put aside.

        Raises:
            CheckpointNotFoundError: None of that step was, or it was removed for good.
            OverwriteError: There is another one of that step.
        """
        if step not in self.aside():
            raise CheckpointNotFoundError(
                f"{printable(self.place(step))}: is not among those put aside; these are: {self.aside() or 'none'}"
            )
        if self.is_there(step):
            raise OverwriteError(f"{printable(self.place(step))}: is there; move it away first; nothing was changed")
        syscalls.rename_new(self._aside(step), self.place(step))
        syscalls.sync_directory(self.path)

    def aside(self) -> list[int]:
        """Return the steps of the checkpoints that were put aside."""
        found = [_ASIDE.fullmatch(name) for name in syscalls.list_names(self.path)] if os.path.isdir(self.path) else []
        return sorted(int(one[1]) for one in found if one)

    def remove_aside(self, step: int) -> None:
        """Remove for good what was put aside."""
        syscalls.remove_tree(self._aside(step))

    def committed_at(self, step: int) -> float:
        try:
            return os.stat(os.path.join(self.place(step), DIRECTORY_SEAL)).st_mtime
        except OSError:
            return 0.0  # without a seal it is proved by nothing, and kept by no other rule either

    def _aside(self, step: int) -> str:
        return os.path.join(self.path, f".checkpoint-{step}.ckpt-deleted")

    def _tidy(self) -> None:
        """End the work of a process that was killed.

        Its stages go, and what it was about to replace is back.
        """
        for name in syscalls.list_names(self.path):
            left = _LEFT.fullmatch(name)
            if left is None:
                continue
            if name.endswith(_REMOVED):
                syscalls.remove_tree(os.path.join(self.path, name))
            else:
                with tidied(self.path, left[1]):
                    _log.info("%s: removed what a save that was stopped had left", name)
