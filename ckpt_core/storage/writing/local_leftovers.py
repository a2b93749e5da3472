"""Leftovers of writers on a disk.

Stages, journals in them, locks, and contents between two names.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.storage.objects.leftovers import Leftover
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.staging import tidied

_OURS = re.compile(rf"\.(?P<name>.+){re.escape(MARK)}(?P<kind>stage-[^/]+|lock|old)")


@dataclass(slots=True)
class _Site:
    """A destination, and the leftovers beside it by kind."""

    parent: str
    name: str
    left: dict[str, str] = field(default_factory=dict)

    @property
    def stages(self) -> list[str]:
        return [path for kind, path in self.left.items() if kind.startswith("stage-")]


def local_leftovers(path: str) -> Iterator[Leftover]:
    """Yield the leftovers of writers.

    The place is a file or a directory, with everything below it. Links are not followed.

    Only what this user has made is listed: in a shared folder others may have put anything under such names.

    Raises:
        UnreachableError: A folder cannot be read.
    """
    for site in _sites(os.path.abspath(path)):
        yield _left(site)


def _left(site: _Site) -> Leftover:
    files = [found for one in site.left.values() for found in files_below(one)]
    newest = max((found.st_mtime for found in files), default=time.time())
    lock = site.left.get("lock")

    def remove() -> None:
        with tidied(site.parent, site.name):
            for stage in site.stages:
                if os.path.lexists(stage):
                    syscalls.remove_tree(stage)

    return Leftover(
        place=os.path.join(site.parent, site.name),
        kind=_kind(site),
        age=max(time.time() - newest, 0.0),
        size=sum(min(found.st_size, found.st_blocks * 512) for found in files),
        count=len(files),
        uploads=0,
        held="another process of this machine" if lock is not None and is_held(lock) else "",
        remove=remove,
    )


def _kind(site: _Site) -> str:
    if any(os.path.lexists(os.path.join(stage, "journal")) for stage in site.stages):
        return "unfinished write that can go on"
    if site.stages:
        return "unfinished write"
    return "replacing that was stopped" if "old" in site.left else "lock that nobody holds"


def _sites(path: str) -> list[_Site]:
    found: dict[tuple[str, str], _Site] = {}
    parent, name = os.path.split(path)
    if os.path.isdir(parent) and name:
        _note(found, parent, name)
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, folders, _ in os.walk(path, onerror=_failed):
            folders[:] = [one for one in folders if not _OURS.fullmatch(one)]
            _note(found, folder, None)
    return [site for _, site in sorted(found.items())]


def _note(found: dict[tuple[str, str], _Site], folder: str, only: str | None) -> None:
    """Note the leftovers in a folder, of one name or of all."""
    for entry in syscalls.list_names(folder):
        ours = _OURS.fullmatch(entry)
        path = os.path.join(folder, entry)
        if ours and only in (None, ours["name"]) and os.lstat(path).st_uid == os.geteuid():
            site = found.setdefault((folder, ours["name"]), _Site(folder, ours["name"]))
            site.left[ours["kind"]] = path


def files_below(path: str) -> Iterator[os.stat_result]:
    """The files at a path, or below it."""
    if not os.path.isdir(path) or os.path.islink(path):
        yield os.lstat(path)
        return
    for folder, _, names in os.walk(path):
        yield from (os.lstat(os.path.join(folder, name)) for name in names)


def is_held(lock: str) -> bool:
    """Return whether a process of this machine holds a lock file."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return os.path.lexists(lock)  # not ours to open: nobody here may say that it is free
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _failed(error: OSError) -> None:
    raise syscalls.as_ckpt_error(error, str(error.filename)) from error
