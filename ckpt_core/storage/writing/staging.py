"""The stage: a folder beside the destination.

It is on its filesystem; a checkpoint is made in it before it is named.

.NAME.ckpt-lock          held while anything is written there
.NAME.ckpt-stage-ID/     ID: of what is being written
    data/                what becomes NAME
    journal              a line for each finished tensor, where the work can go on after a stop
    seal                 the seal of the file that NAME is, while NAME changes hands
.NAME.ckpt-old           the former content, for the moment between two renames, where names cannot be exchanged
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ckpt_core.errors import CkptError
from ckpt_core.log import Logger
from ckpt_core.schema.side_files.reserved_names import FILE_SUFFIX, MARK
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.late_seals import name_late
from ckpt_core.storage.writing.locks import locked

_log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that is locked for us.

    `parent` and `name` are the destination's.
    """

    parent: str
    name: str
    id: str

    @property
    def root(self) -> str:
        return os.path.join(self.parent, f".{self.name}{MARK}stage-{self.id}")

    @property
    def data(self) -> str:
        return os.path.join(self.root, "data")

    @property
    def journal(self) -> str:
        return os.path.join(self.root, "journal")

    @property
    def seal(self) -> str:
        return os.path.join(self.root, "seal")

    @property
    def destination(self) -> str:
        return os.path.join(self.parent, self.name)

    @property
    def old(self) -> str:
        return os.path.join(self.parent, f".{self.name}{MARK}old")

    def clear(self) -> None:
        """Remove the stage and the former content.

        Where that fails it is left to the next writer, and said so.
        """
        try:
            syscalls.remove_tree(self.root)
            if os.path.lexists(self.destination):
                syscalls.remove_tree(self.old)
        except CkptError as error:
            _log.warning("%s: left behind (%s); the next save there removes it", self.root, error.__cause__ or error)


@contextmanager
def hold(parent: str, name: str, id: str) -> Iterator[Stage]:
    """Hold a locked stage for `parent/name` for a block.

    Leftovers of killed writers are swept away.

    Raises:
        LockedError: Somebody else is writing there.
    """
    stage = Stage(parent, name, id)
    with tidied(parent, name):
        syscalls.make_directory(stage.root)
        syscalls.make_directory(stage.data)
        yield stage


@contextmanager
def tidied(parent: str, name: str) -> Iterator[None]:
    """Lock the place `parent/name` for a block, and tidy it.

    What killed writers began there is ended, and their leftovers are gone.

    Raises:
        LockedError: Somebody else is writing there.
    """
    stage = Stage(parent, name, "")
    with locked(os.path.join(parent, f".{name}{MARK}lock"), place=stage.destination):
        _restore(stage)
        _sweep(stage)
        yield


def _restore(stage: Stage) -> None:
    """End what a writer killed between two renames began.

    The old content is back, or gone for good.
    """
    if not os.path.lexists(stage.old):
        return
    if os.path.lexists(stage.destination):
        syscalls.remove_tree(stage.old)
    else:
        syscalls.rename(stage.old, stage.destination)
        syscalls.sync_directory(stage.parent)


def _sweep(stage: Stage) -> None:
    """Remove the stages of killed writers of this destination.

    Those that work can go on from stay.
    """
    prefix = f".{stage.name}{MARK}stage-"
    names = [name for name in syscalls.list_names(stage.parent) if name.startswith(prefix)]
    found = [Stage(stage.parent, stage.name, name.removeprefix(prefix)) for name in names]
    over = [one for one in found if not (os.path.lexists(one.journal) and _is_ours(one.root) and _holds_data(one))]
    for one in over:
        if _is_ours(one.root):
            name_late(stage.destination, (os.path.join(one.data, stage.name) + FILE_SUFFIX, one.seal))
    for one in over:
        syscalls.remove_tree(one.root)


def _holds_data(stage: Stage) -> bool:
    """Return whether what was staged is still there.

    Once it has its name, nothing but its seal may be.
    """
    there = syscalls.list_names(stage.data) if os.path.isdir(stage.data) else []
    return bool(set(there) - {stage.name + FILE_SUFFIX})


def _is_ours(root: str) -> bool:
    """Return whether a stage is a folder that this user made.

    Others may have put anything in theirs, in a shared place.
    """
    found = os.lstat(root)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
