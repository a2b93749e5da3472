"""A folder that is filled beside its destination.

One process at a time fills it, and it is named whole or not at all.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckpt_core import BudgetError, LockedError, OverwriteError, printable


def stage_of(destination: Path, key: str) -> Path:
    """Return the stage of a folder.

    It is the same for the same content, so that another run goes on with it.
    """
    return destination.with_name(f".{destination.name}.ckpt-wandb-{key}")


@contextmanager
def filled(destination: Path, key: str, nbytes: int) -> Iterator[Path]:
    """Give a stage to fill, then name it as its destination.

    What raises in the block leaves it for another run.

    Args:
        destination: The folder; nothing is there, or an empty one.
        key: What tells this content from others.
        nbytes: About how many bytes will come.

    Raises:
        LockedError: Another process fills it.
        BudgetError: The disk has not that much room, or had not.
        OverwriteError: The destination came meanwhile.
    """
    stage = stage_of(destination, key)
    stage.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, stage)
        _check_room(stage, nbytes)
        yield stage
        _sync_folders(stage)
        _publish(stage, destination)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BudgetError(f"{printable(str(destination))}: the disk is full; make room and run it again") from error
        raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int, stage: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(f"{printable(str(stage))}: another process fills it; wait for it, or stop it") from None


def _check_room(stage: Path, nbytes: int) -> None:
    have = sum(file.stat().st_size for file in stage.rglob("*") if file.is_file())
    free = shutil.disk_usage(stage).free
    if nbytes - have > free:
        raise BudgetError(
            f"{printable(str(stage.parent))}: {nbytes - have} bytes are to come, and {free} are free; make room"
        )


def _sync_folders(stage: Path) -> None:
    for folder in (stage, *(path for path in stage.rglob("*") if path.is_dir())):
        _sync(folder)


def _publish(stage: Path, destination: Path) -> None:
    try:
        os.rename(stage, destination)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise OverwriteError(f"{printable(str(destination))}: came while it was filled; take another folder") from None
    _sync(destination.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
