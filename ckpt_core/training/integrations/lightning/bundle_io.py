"""Bundles of what Lightning saves.

Each is whole or not there, is proved before it is loaded, and has no pickle.
"""

import os
import re
from contextlib import ExitStack
from typing import Any, Protocol

from lightning.pytorch.plugins.io import CheckpointIO

from ckpt_core.arguments import argument
from ckpt_core.codecs.gc_pause import without_collection
from ckpt_core.errors import OverwriteError, UsageError
from ckpt_core.layouts.in_memory import checkpoint_of_parts
from ckpt_core.log import Logger
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.staging import tidied
from ckpt_core.training.choosing import proved
from ckpt_core.training.integrations.lightning.finding import is_bundle
from ckpt_core.training.integrations.lightning.parts import checkpoint_of, parts_of
from ckpt_core.training.run_lock import holding
from ckpt_core.training.saving.finite import refuse_not_finite
from ckpt_core.training.saving.system_errors import told_by_system
from ckpt_core.verbs.save import save

_log = Logger(__name__)

_LEFT = re.compile(r"\.(.+)\.ckpt-(?:old|removed|stage-.*)")
_REMOVED = ".ckpt-removed"


class SeesTo(Protocol):
    """The callback of a training: an `ExactResume`."""

    def takes_save(self, place: str, weights_only: bool) -> bool: ...

    def takes_removal(self, place: str) -> bool: ...

    def begin_from(self, stored: StoredCheckpoint, found: dict[str, Any]) -> None: ...


class BundleIO(CheckpointIO):  # type: ignore[misc]  # Lightning's types are not followed
    """Saves and loads a Trainer's checkpoints as directories of the format `bundle`.

    `Trainer(plugins=[BundleIO()])`; `ModelCheckpoint` works through it. A checkpoint gets its name once it is sealed
    and synced. One process at a time saves in a folder.

    Args:
        finite: `refuse` to save weights that are NaN or infinite, or `ignore` it.

    Attributes:
        training: The callback that sees to a training, while there is one.
    """

    def __init__(self, finite: str = "refuse") -> None:
        if finite not in ("refuse", "ignore"):
            raise UsageError(f"{argument('finite')}: refuse or ignore is needed, not {finite!r}")
        self.finite = finite
        self.training: SeesTo | None = None
        self._held = ExitStack()
        self._folders: set[str] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint.

        In a training with `ExactResume` that is done at the end of the step that is under way.

        Raises:
            UsageError: The path is no path of this machine.
            OverwriteError: Something else than a bundle is there.
            CkptError: As `ckpt_core.save`; what was there is there.
        """
        if storage_options is not None:
            raise UsageError(f"{argument('storage_options')}: a BundleIO writes to paths of this machine; leave it out")
        place = _local(path)
        if self.training is None or not self.training.takes_save(place, "optimizer_states" not in checkpoint):
            self.write(checkpoint, place)

    def write(self, checkpoint: dict[str, Any], place: str) -> None:
        """Save a checkpoint now; raises as `save_checkpoint`."""
        if os.path.lexists(place) and not is_bundle(place):
            raise OverwriteError(f"{printable(place)}: is there, and is no bundle; move it away; nothing was saved")
        with told_by_system():
            self._open(os.path.dirname(place))
        with without_collection(), told_by_system():
            live = checkpoint_of_parts(parts_of(checkpoint))
            if self.finite == "refuse":
                refuse_not_finite(live, checkpoint["global_step"])
            report = save(live, place, format="bundle", force=os.path.lexists(place))
        _log.info("saved %s: %d tensors, %d bytes", report.location, report.tensors, report.nbytes)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return a checkpoint of which every byte was proved.

        Its tensors are on the CPU.

        Nothing in a bundle is executed, whatever `weights_only` says.

        Raises:
            LoadRefusedError: It was not written by a BundleIO, or does not fit the training.
            CkptError: It is not there, or is not whole.
        """
        stored = proved(_local(path), sealed=True)
        with one_moment(stored, failures_only=True):
            found = checkpoint_of(stored)
            if self.training is not None:
                self.training.begin_from(stored, found)
            stored.check_unchanged()
        return found

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint whole.

        It loses its name first, so that no half of it is ever found.
        """
        place = _local(path)
        if self.training is None or not self.training.takes_removal(place):
            self.remove(place)

    def remove(self, place: str) -> None:
        """Remove a checkpoint now; what no BundleIO wrote is left."""
        if os.path.islink(place):
            os.unlink(place)
        elif not is_bundle(place):
            _log.warning("%s: is no bundle, and is left there", printable(place))
        else:
            folder, name = os.path.split(place)
            gone = os.path.join(folder, f".{name}{_REMOVED}")
            syscalls.remove_tree(gone)
            syscalls.rename(place, gone)
            syscalls.sync_directory(folder)
            syscalls.remove_tree(gone)
            _log.info("removed %s", place)

    def teardown(self) -> None:
        """Let another process save where this one did."""
        self._held.close()
        self._folders.clear()

    def _open(self, folder: str) -> None:
        """Make a folder ready, and keep other writers out.

        What a process that was killed had begun is ended.
        """
        if folder in self._folders:
            return
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise syscalls.as_ckpt_error(error, folder) from error
        self._held.enter_context(holding(folder))
        self._folders.add(folder)
        for name in syscalls.list_names(folder):
            left = _LEFT.fullmatch(name)
            if left is not None and name.endswith(_REMOVED):
                syscalls.remove_tree(os.path.join(folder, name))
            elif left is not None:
                with tidied(folder, left[1]):
                    _log.info("%s: removed what a save that was stopped had left", name)


def _local(path: Any) -> str:
    found = local_path(os.fspath(path))
    if found is None:
        raise UsageError(f"{redact(str(path))}: a BundleIO saves to paths of this machine; give a local dirpath")
    return os.path.abspath(found)
