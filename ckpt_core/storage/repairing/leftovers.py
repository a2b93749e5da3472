"""Leftovers of killed repairs and seals on a disk.

Backups of nothing, new seals without their names.

A backup that has steps is none of it: undo works from that.
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ckpt_core.schema.side_files.reserved_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX, FILE_SUMS, MARK, SUMS
from ckpt_core.storage.objects.leftovers import Leftover
from ckpt_core.storage.repairing.steps import STEPS
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.local_leftovers import files_below, is_held
from ckpt_core.storage.writing.locks import locked

_OURS = re.compile(rf"(?:\.(?P<name>.+))?{re.escape(MARK)}(?P<kind>backup-\d{{1,9}}|new-\d+|lock)")


@dataclass(slots=True)
class _Site:
    """A checkpoint, its lock, and the leftovers of its changes."""

    place: str
    lock: str
    kind: str
    left: list[str] = field(default_factory=list)


def left_by_repairs(path: str) -> Iterator[Leftover]:
    """Yield the leftovers of repairs and seals.

    The place is a file or a directory, with everything below it. Links are not followed.

    Raises:
        UnreachableError: A folder cannot be read.
    """
    path = os.path.abspath(path)
    parent, name = os.path.split(path)
    found: dict[tuple[str, str], _Site] = {}
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, folders, _ in os.walk(path):
            _note(found, folder, None)
            folders[:] = [one for one in folders if not _OURS.fullmatch(one)]
    elif os.path.isdir(parent) and name:
        _note(found, parent, name)
    for _, site in sorted(found.items()):
        yield _left(site)


def _note(found: dict[tuple[str, str], _Site], folder: str, only: str | None) -> None:
    for entry in syscalls.list_names(folder):
        ours, path = _OURS.fullmatch(entry), os.path.join(folder, entry)
        site = _site(folder, ours["name"] or "", ours["kind"], path) if ours else None
        if site is None or os.lstat(path).st_uid != os.geteuid():
            continue
        if only is None or site.place == os.path.join(folder, only):
            found.setdefault((site.place, site.kind), site).left.append(path)


def _site(folder: str, name: str, kind: str, path: str) -> _Site | None:
    """Return the owner of a leftover.

    None where it is none of a repair or a seal.
    """
    if kind.startswith("backup-"):
        place = os.path.join(folder, name) if name else folder
        lock = os.path.join(os.path.dirname(place), f".{os.path.basename(place)}{MARK}lock")
        unused = os.path.isdir(path) and not os.path.lexists(os.path.join(path, STEPS))
        return _Site(place, lock, "repair that had changed nothing") if unused else None
    if kind == "lock":  # of a seal in a directory: the others lie beside what they are of
        return None if name else _Site(folder, path, "seal that was stopped")
    if name in (BLOCKS, DIRECTORY_SEAL, SUMS):
        return _Site(folder, os.path.join(folder, f"{MARK}lock"), "seal that was stopped")
    for suffix in (FILE_SUFFIX, FILE_SUMS):
        if name.endswith(suffix):
            own = name.removesuffix(suffix)
            return _Site(os.path.join(folder, own), os.path.join(folder, f".{own}{MARK}lock"), "seal that was stopped")
    return None


def _left(site: _Site) -> Leftover:
    files = [found for one in site.left for found in files_below(one)]
    newest = max((found.st_mtime for found in files), default=time.time())

    def remove() -> None:
        with locked(site.lock, place=site.place):
            for path in site.left:
                if path != site.lock and not os.path.lexists(os.path.join(path, STEPS)):  # again: with the lock
                    syscalls.remove_tree(path)

    return Leftover(
        place=site.place,
        kind=site.kind,
        age=max(time.time() - newest, 0.0),
        size=sum(found.st_size for found in files),
        count=len(files),
        uploads=0,
        held="another process of this machine" if is_held(site.lock) else "",
        remove=remove,
    )
