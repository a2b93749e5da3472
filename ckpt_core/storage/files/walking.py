"""A walk through a directory: the listed files and the others.

Links are listed where they end inside the directory, or inside the cache of the Hugging Face repository it belongs to.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ckpt_core import knobs
from ckpt_core.errors import BudgetError
from ckpt_core.schema.access import FileEntry
from ckpt_core.schema.side_files.debris import debris, debris_folder
from ckpt_core.schema.side_files.reserved_names import MARK
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.identity import Identity
from ckpt_core.storage.files.probe import reason_of, unreachable
from ckpt_core.storage.files.range_checks import DENIED


@dataclass(slots=True)
class Walked:
    """The files below a directory, by their paths from there.

    Attributes:
        entries: The files that are listed.
        identities: What each of them was when it was looked at.
        skipped: What is left out, with the reason.
        debris: What is no part of a checkpoint.
        links: Where listed names lead, but for those that are their own file.
        empty: Folders that hold nothing.
        generations: See `Committed`; None where nothing says that there are any.
    """

    entries: dict[str, FileEntry] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    debris: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    generations: Mapping[str, str] | None = None


def walk(root: str, *, unfinished: bool) -> Walked:
    """Return what lies below a directory.

    Args:
        root: The directory.
        unfinished: List what was not committed all the same, for who writes it.

    Raises:
        UnreachableError: The directory itself cannot be read.
        BudgetError: More files are below it than a listing may have.
        CorruptError: WR001, WR002, it is not finished, or broken.
    """
    found = Walked()
    homes = _homes(root)
    limit, seen = knobs.listing_limit(), 0
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            scan = os.scandir(os.path.join(root, folder))
        except OSError as error:
            if not folder:
                raise unreachable(root, error) from error
            if not isinstance(error, FileNotFoundError):
                found.skipped[folder] = reason_of(error)
            continue
        with scan:
            before = seen
            for item in scan:
                path = f"{folder}/{item.name}" if folder else item.name
                seen += 1
                if seen > limit:
                    raise BudgetError(f"{printable(root)}: more than {limit} files; name a directory further down")
                aside = _debris(item, path)
                if aside is not None:
                    found.debris[path] = aside[1]
                else:
                    _add(item, path, homes, found, pending)
        found.empty += [folder] if folder and seen == before else []
    if any(MARK in path for path in found.entries):
        _take_committed(root, found, unfinished)
    return found


def _take_committed(root: str, found: Walked, unfinished: bool) -> None:
    """Give files of a generation their plain names."""
    from ckpt_core.storage.files.local_commits import committed_below

    chosen = committed_below(root, found.entries, unfinished)
    found.generations = chosen.generations
    found.debris |= chosen.left
    found.links |= {path: os.path.join(root, full) for path, full in chosen.names.items() if path != full}
    found.identities |= {path: found.identities[full] for path, full in chosen.names.items()}
    found.entries = {path: FileEntry(path, found.entries[full].size) for path, full in chosen.names.items()}


def _debris(item: "os.DirEntry[str]", path: str) -> tuple[str, str] | None:
    try:
        return debris_folder(path) if item.is_dir(follow_symlinks=False) else debris(path)
    except OSError:
        return None  # `_add` meets the same, and says so


def _add(item: "os.DirEntry[str]", path: str, homes: tuple[str, ...], found: Walked, pending: list[str]) -> None:
    try:
        if item.is_symlink():
            _add_link(os.path.realpath(item.path), path, homes, found)
        elif item.is_dir(follow_symlinks=False):
            pending.append(path)
        elif item.is_file(follow_symlinks=False) and _is_denied(item.path):
            found.skipped[path] = DENIED
        elif item.is_file(follow_symlinks=False):
            found.identities[path] = Identity.of(item.stat(follow_symlinks=False))
            found.entries[path] = FileEntry(path, found.identities[path].size)
        else:
            found.skipped[path] = "not a regular file (a device, a pipe or a socket)"
    except FileNotFoundError:
        return
    except OSError as error:
        found.skipped[path] = reason_of(error)


def _add_link(end: str, path: str, homes: tuple[str, ...], found: Walked) -> None:
    if not os.path.isfile(end):
        found.skipped[path] = "a link to a directory, or to nothing"
    elif not any(end.startswith(home.rstrip(os.sep) + os.sep) for home in homes):
        found.skipped[path] = "a link that leads out of the checkpoint"
    elif not _may_read(end):
        found.skipped[path] = DENIED
    else:
        found.links[path] = end
        found.identities[path] = Identity.of(os.stat(end))
        found.entries[path] = FileEntry(path, found.identities[path].size)


def _is_denied(path: str) -> bool:
    """Return True if this process may not open a file.

    FileNotFoundError where it is gone: that is no denial.
    """
    return not _may_read(path) and os.lstat(path) is not None and not _may_read(path)


def _may_read(path: str) -> bool:
    """Return True if this process may open a file.

    It is told when it is listed, so that no format stumbles over it later.
    """
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _homes(root: str) -> tuple[str, ...]:
    """Return the folders that a link may end in.

    They are the listed one, and the blobs of the Hugging Face cache that it is a snapshot of.

    Layout: huggingface_hub, `models--ORG--NAME/{blobs,refs,snapshots/REVISION}`.
    """
    real = os.path.realpath(root)
    parts = real.split(os.sep)
    for index, part in enumerate(parts[:-1]):
        if parts[index + 1] == "snapshots" and part.startswith(("models--", "datasets--", "spaces--")):
            return real, os.sep.join([*parts[: index + 1], "blobs"])
    return (real,)
