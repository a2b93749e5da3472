"""From stage to name: synced, then renamed, so that a reader sees the old content or the new one, whole.

Order: the files are synced, then the folders that name them, then the rename, then the folder it happened in.
"""

import os

from ckpt_core.errors import OverwriteError
from ckpt_core.schema.own_names import FILE_SUFFIX
from ckpt_core.schema.text import printable
from ckpt_core.storage import syscalls
from ckpt_core.storage.stages import Stage


def commit_directory(stage: Stage, *, replace: bool) -> None:
    """Name the staged directory. With `replace`, what has that name now is removed once the new one has it.

    Raises:
        OverwriteError: Something has that name, and `replace` is not set.
    """
    _sync_tree(stage.data)
    if not os.path.lexists(stage.destination):
        syscalls.rename_new(stage.data, stage.destination)
        syscalls.sync_directory(stage.parent)
    elif not replace and _holds_something(stage.destination):
        raise OverwriteError(
            f"{printable(stage.destination)}: is not empty; choose another place, or --force to replace it"
        )
    elif syscalls.exchange(stage.data, stage.destination):
        syscalls.sync_directory(stage.parent)
        syscalls.sync_directory(stage.root)
    else:
        syscalls.rename(stage.destination, stage.old)
        syscalls.rename_new(stage.data, stage.destination)
        syscalls.sync_directory(stage.parent)
        syscalls.remove_tree(stage.old)
    stage.clear()


def commit_file(stage: Stage, *, replace: bool) -> None:
    """Name the staged file, then its seal. The old seal goes first: a stop between leaves it unsealed, never false."""
    _sync_tree(stage.data)
    staged = os.path.join(stage.data, stage.name)
    seal, new_seal = stage.destination + FILE_SUFFIX, staged + FILE_SUFFIX
    if os.path.lexists(stage.destination):
        if not replace:
            raise OverwriteError(
                f"{printable(stage.destination)}: exists; choose another name, or --force to replace it"
            )
        if os.path.lexists(seal):
            syscalls.remove(seal)
            syscalls.sync_directory(stage.parent)
        syscalls.rename(staged, stage.destination)
    else:
        syscalls.remove(seal)
        syscalls.rename_new(staged, stage.destination)
    syscalls.sync_directory(stage.parent)
    syscalls.rename(new_seal, seal)
    syscalls.sync_directory(stage.parent)
    stage.clear()


def _holds_something(path: str) -> bool:
    return not os.path.isdir(path) or bool(os.listdir(path))


def _sync_tree(root: str) -> None:
    """Sync every folder of a tree, the deepest first; its files are synced when they are written."""
    for folder, _, _ in os.walk(root, topdown=False):
        syscalls.sync_directory(folder)
    syscalls.sync_directory(os.path.dirname(root))
