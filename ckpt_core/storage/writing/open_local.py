"""A destination on a disk made ready.

It needs its parents, its lock and its stage.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import (
    FormatError,
    OverwriteError,
    ReplacedError,
    UsageError,
)
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.text import printable
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.local_target import LocalTarget
from ckpt_core.storage.writing.staging import Stage, hold, tidied


@contextmanager
def open_local_target(
    path: str,
    *,
    format: str,
    kind: LocationKind,
    options: Mapping[str, Any] | None = None,
    replace: bool = False,
    resume: bool = False,
    ranks: Ranks = ALONE,
) -> Iterator[LocalTarget]:
    """A staged destination on this machine, locked for the block; see `open_target`."""
    if not ranks.leads:
        yield _joined_target(kind, ranks, format=format, options=options or {}, resume=resume)
        return
    parent, name = _real_place(path)
    path = os.path.join(parent, name)
    _refuse_existing(path, kind, replace)
    with hold(parent, name, "convert" if resume else f"save-{os.getpid()}") as stage:
        location = Location(path, kind)
        target = LocalTarget(
            location, stage, format=format, options=options or {}, replace=replace, resume=resume, ranks=ranks
        )
        try:
            _refuse_existing(path, kind, replace)  # again, with the lock: another writer may just have ended
            ranks.exchange([parent, name, stage.id, number_of(stage.root)])
            yield target
        except BaseException as error:
            ranks.fail(error)
            if isinstance(error, FormatError | ReplacedError):
                target.drop(entirely=True)  # going on from it would end here again
            raise
        finally:
            target.drop()


@contextmanager
def swept(path: str) -> Iterator[None]:
    """Lock a local path for a block, and sweep it.

    What killed writers began there is ended before.

    Raises:
        LockedError: Another process is writing there.
        CkptError: The folder that it is in may not be written to.
    """
    with tidied(*_real_place(path)):
        yield


def _joined_target(
    kind: LocationKind, ranks: Ranks, *, format: str, options: Mapping[str, Any], resume: bool
) -> LocalTarget:
    """The stage that rank 0 has made, for another rank."""
    parent, name, id, number = ranks.from_leader(None)
    stage = Stage(parent, name, id)
    refuse_another_disk(stage.root, number, place=stage.destination, rank=ranks.rank)
    location = Location(stage.destination, kind)
    return LocalTarget(location, stage, format=format, options=options, resume=resume, ranks=ranks)


def refuse_another_disk(folder: str, number: int | None, *, place: str, rank: int) -> None:
    """Refuse a folder that is not the one of rank 0.

    UsageError where a rank, on another node, sees another one or none.
    """
    if number_of(folder) != number:
        raise UsageError(
            f"{printable(place)}: rank {rank} does not see what rank 0 has made there; give a place on a disk that all "
            "ranks share, or in a store"
        )


def number_of(folder: str) -> int | None:
    """Return the number by which a filesystem knows a folder.

    None where there is none.
    """
    try:
        return os.stat(folder).st_ino
    except OSError:
        return None


def _real_place(path: str) -> tuple[str, str]:
    """Return parent and name of a destination, its links followed.

    What is at the end of them is what is written.
    """
    parent, name = os.path.split(os.path.realpath(path))
    if not path or not name:
        raise UsageError(f"{printable(path) or 'an empty name'}: not a place to write to; name a file or directory")
    syscalls.make_directories(parent)
    return parent, name


def _refuse_existing(path: str, kind: LocationKind, replace: bool) -> None:
    if not os.path.lexists(path):
        return
    is_directory = os.path.isdir(path)
    if is_directory != (kind is LocationKind.DIRECTORY):
        there = "directory" if is_directory else "file"
        raise OverwriteError(
            f"{printable(path)}: is a {there}, and a {kind.value} is to be written; choose another place"
        )
    empty = is_directory and not os.listdir(path)
    if not empty and not replace:
        raise OverwriteError(
            f"{printable(path)}: exists; choose another place, or {argument('force', True)} to replace it"
        )
