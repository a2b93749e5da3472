"""From stage to name.

It is synced, then renamed, so that a reader sees the old content or the new one, whole.

Order: the files are synced, then the folders that name them, then the rename, then the folder it happened in. Up to the
rename a failure leaves what was there; after it the new content is there, and a failure says that much.
"""

import os

from ckpt_core.arguments import argument
from ckpt_core.errors import CkptError, OverwriteError
from ckpt_core.schema.side_files.reserved_names import FILE_SUFFIX
from ckpt_core.schema.text import printable
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.staging import Stage


def name_directory(stage: Stage, *, replace: bool) -> None:
    """Name the staged directory.

    With `replace`, what has that name now gives way to it.

    Raises:
        OverwriteError: Something other than an empty directory has that name, and `replace` is not set.
    """
    syscalls.sync_tree(stage.root)
    if not replace or not os.path.lexists(stage.destination):
        syscalls.rename(stage.data, stage.destination)
    elif not syscalls.exchange(stage.data, stage.destination):
        syscalls.rename(stage.destination, stage.old)
        try:
            syscalls.rename_new(stage.data, stage.destination)
        except CkptError:
            syscalls.rename(stage.old, stage.destination)
            raise


def name_file(stage: Stage, *, replace: bool) -> None:
    """Name the staged file.

    The old seal goes first: a stop between leaves it unsealed, never false.

    Raises:
        OverwriteError: Something has that name, and `replace` is not set.
    """
    syscalls.sync_tree(stage.root)
    exists = os.path.lexists(stage.destination)
    if exists and not replace:
        raise OverwriteError(
            f"{printable(stage.destination)}: exists; choose another name, or {argument('force', True)} to replace it"
        )
    seal, staged = stage.destination + FILE_SUFFIX, os.path.join(stage.data, stage.name)
    sealed = os.path.lexists(seal)
    if sealed:
        syscalls.rename(seal, stage.seal)
    try:
        if sealed:
            syscalls.sync_directory(stage.parent)
        if exists:
            syscalls.rename(staged, stage.destination)
        else:
            syscalls.rename_new(staged, stage.destination)
    except CkptError:
        if sealed and exists:
            syscalls.rename(stage.seal, seal)
        raise


def finish(stage: Stage, *, seal: bool) -> None:
    """Finish the naming of a destination.

    The name is made durable, the staged seal is named where it is a file's, and what is left is removed.

    Raises:
        CkptError: The new content is there, but may not outlast a loss of power, or is unsealed.
    """
    try:
        syscalls.sync_directory(stage.parent)
        syscalls.sync_directory(stage.root)
        if seal:
            staged = os.path.join(stage.data, stage.name)
            syscalls.rename(staged + FILE_SUFFIX, stage.destination + FILE_SUFFIX)
            syscalls.sync_directory(stage.parent)
    except CkptError as error:
        reason = getattr(error.__cause__, "strerror", None) or error.message
        raise type(error)(
            f"{printable(stage.destination)}: is written, but not yet sealed or safe from a loss of power "
            f"({reason.lower()}); save it again with {argument('force', True)}"
        ) from error
    stage.clear()
