"""Listings and reads of this machine's disks and mounts.

With the standard library alone.

Regular files only, opened without following a link at the last step and without waiting for a pipe. Links are listed
where they end inside the listed directory, or inside the cache of the Hugging Face repository it belongs to.
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CheckpointNotFoundError, CkptError, CorruptError, LocateError, ReplacedError
from ckpt_core.schema.access import FileEntry
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.side_files.debris import debris, debris_folder
from ckpt_core.schema.side_files.reserved_names import BLOCKS, LEASE, MARK, is_ours
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.base import ListedFiles, below_folder
from ckpt_core.storage.files.identity import Identity, after_its_tick, replaced, while_fresh
from ckpt_core.storage.files.probe import kind_of, left_between, reason_of, stat_of, unreachable
from ckpt_core.storage.files.range_checks import DENIED, check_budget, check_range, ends_early, gone, not_listed
from ckpt_core.storage.workers import check_stop

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW

_KEPT_OPEN = 64
"""Files a listing keeps open: enough for the shards of most checkpoints, far below the 1024 that a process may open."""

_READ_AT_ONCE = 64 << 20
"""Bytes of one read: a worker that is told to stop does so between two."""


class _Descriptors:
    """Descriptors of files being read, by their listed path.

    With them 20,000 small reads do not open 20,000 times.

    Any thread may read through one: reads give their offset. None is closed before all are, so that no thread can be
    left with the number of another file.
    """

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self._lock = Lock()

    @contextmanager
    def open(self, local: str, path: str, check: Callable[[int], None]) -> Iterator[int]:
        """Lend a descriptor, and keep it where there is room.

        Where there is none for one more, it is open for the block.
        """
        descriptor = open_regular(local, path)
        try:
            check(descriptor)
        except CkptError:
            os.close(descriptor)
            raise
        with self._lock:
            stays = len(self.kept) < _KEPT_OPEN and self.kept.setdefault(path, descriptor) == descriptor
        try:
            yield descriptor
        finally:
            if not stays:
                os.close(descriptor)

    def __del__(self) -> None:
        for descriptor in self.kept.values():
            try:
                os.close(descriptor)
            except OSError:
                pass  # of a mount that is gone


class _Folder:
    """The directory that was listed.

    It is kept open, so that no other can come to have its number.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unreachable(path, error) from error

    def check(self) -> None:
        """Refuse a directory whose name leads elsewhere now.

        ReplacedError: files of both must not be taken for one checkpoint.
        """
        found = stat_of(self._path)
        if found is None or not os.path.samestat(found, os.fstat(self._descriptor)):
            raise replaced(self._path, "removed" if found is None else "replaced")

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class _Read:
    """The paths that were read of a listing.

    Of the listings below it too, each with its prefix.
    """

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.below: list[tuple[str, _Read]] = []

    def all(self, prefix: str = "") -> Iterator[str]:
        yield from (prefix + path for path in list(self.paths))
        for folder, read in self.below:
            yield from read.all(prefix + folder)


class LocalFiles(ListedFiles):
    """A listing of a local directory, or of one file in it.

    Args:
        location: Its place.
        root: The folder that paths are relative to.
        entries: The listed files.
        identities: What each of them was when it was listed.
        skipped: What was left out.
        links: Where listed links end.
        folder: The directory that was listed.
        generations: See `Committed`: on mounts that cannot rename, and in what was copied from a store.
        unfinished: Whether it is listed although it is not finished, by who writes it.
    """

    def __init__(
        self,
        location: Location,
        root: str,
        entries: Mapping[str, FileEntry],
        identities: Mapping[str, Identity],
        *,
        skipped: Mapping[str, str] | None = None,
        debris: Mapping[str, str] | None = None,
        links: Mapping[str, str] | None = None,
        folder: _Folder | None = None,
        empty: Collection[str] = (),
        generations: Mapping[str, str] | None = None,
        unfinished: bool = False,
    ) -> None:
        super().__init__(location, entries, skipped, debris)
        self._generations = generations or {}
        self._unfinished = unfinished
        self._empty = empty
        self._root = root
        self._identities = identities
        self._read = _Read()
        self._beside: dict[str, Identity | None] = {}
        self._links = links or {}
        self._folder = folder
        self._descriptors = _Descriptors()

    @property
    def empty(self) -> Collection[str]:
        return self._empty

    @property
    def generation(self) -> str:
        return self._generations.get("", "")

    def link_end(self, path: str) -> str | None:
        try:
            return os.readlink(os.path.join(self._root, path)) if path in self._skipped else None
        except OSError:
            return None

    def local_path(self, path: str) -> str:
        if path not in self._entries:
            raise not_listed(path, self._skipped)
        if self._folder is not None:
            self._folder.check()
        return self._links.get(path) or os.path.join(self._root, path)

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        check_range(path, offset, len(out), self.size(path))
        kept = self._descriptors.kept.get(path)
        if kept is not None:
            self._fill(kept, path, offset, out)
            return
        with self._descriptors.open(self.local_path(path), path, partial(self.opened, path)) as descriptor:
            self._fill(descriptor, path, offset, out)

    def _fill(self, descriptor: int, path: str, offset: int, out: memoryview) -> None:
        """Read, and prove that nobody wrote since the listing."""
        try:
            fill(descriptor, path, offset, out)
        finally:
            if not self._identities[path].is_of(os.fstat(descriptor)):
                raise replaced(path, "changed")

    def version(self, path: str) -> str:
        return str(self._identities[path].changed)

    def opened(self, path: str, descriptor: int) -> None:
        listed = self._identities[path]
        if path not in self._read.paths:
            after_its_tick(listed.changed)
        if not listed.is_of(os.fstat(descriptor)):
            raise replaced(path)
        self._read.paths.add(path)

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        if self._folder is not None:
            self._folder.check()
        paths = set(self._read.all())
        if failed:
            # What is empty may be about to be filled, and was not read, for there is nothing in it.
            paths.update(path for path, entry in self._entries.items() if not entry.size)
            paths.update(path for path in suspects if path in self._identities)
        for _ in while_fresh(max(self._identities[path].changed for path in paths)) if failed and paths else (None,):
            for path in paths:
                self._check(path)
        if failed:
            self._check_names()

    def _check(self, path: str) -> None:
        """Prove that a listed name leads to the same file."""
        found = stat_of(self._links.get(path) or os.path.join(self._root, path))
        if found is None:
            raise gone(path)
        if not self._identities[path].is_of(found):
            raise replaced(path)

    def _check_names(self) -> None:
        """Prove that the same files are there, and the same seal."""
        for name, was in self._beside.items():
            found = stat_of(os.path.join(self._root, name))
            if (found is None) is not (was is None) or (found is not None and was is not None and not was.is_of(found)):
                raise replaced(name)
        if self.location.kind is LocationKind.FILE:
            return
        try:
            now = list_local(self.location.url, unfinished=self._unfinished)
        except LocateError:
            raise replaced(self.location.url, "removed") from None
        if now.entries.keys() != self._entries.keys():
            raise replaced(self.location.url, "changed")

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            check_range(wanted.path, wanted.offset, wanted.length, self.size(wanted.path))
            out = bytearray(wanted.length)
            self.read_into(wanted.path, wanted.offset, memoryview(out))
            yield bytes(out)

    def beside(self, name: str) -> bytes | None:
        path = os.path.join(self._root, self.generation if name == BLOCKS else "", name)
        try:
            descriptor = open_regular(path, name)
        except ReplacedError:
            self._beside[name] = None
            return None
        try:
            found = os.fstat(descriptor)
            self._beside[name] = Identity.of(found)
            size = found.st_size
            check_budget(size, name)
            out = bytearray(size)
            fill(descriptor, name, 0, memoryview(out))
            return bytes(out)
        finally:
            os.close(descriptor)

    def below(self, root: str) -> "LocalFiles":
        if not root:
            return self
        prefix = root.rstrip("/") + "/"
        if root in self._entries:
            folder, _, name = root.rpartition("/")
            prefix = f"{folder}/" if folder else ""
            entries = {name: FileEntry(name, self._entries[root].size)}
            kind, skipped, aside = LocationKind.FILE, {}, {}  # what else is beside a file is no part of it
            links = {name: self._links[root]} if root in self._links else {}
        else:
            entries = {
                path[len(prefix) :]: FileEntry(path[len(prefix) :], entry.size)
                for path, entry in self._entries.items()
                if path.startswith(prefix)
            }
            kind = LocationKind.DIRECTORY
            skipped, aside = below_folder(self._skipped, prefix), below_folder(self._debris, prefix)
            links = below_folder(self._links, prefix)
        below = LocalFiles(
            Location(os.path.join(self._root, root), kind),
            os.path.join(self._root, prefix.rstrip("/")),
            entries,
            {path: self._identities[prefix + path] for path in entries},
            skipped=skipped,
            debris=aside,
            links=links,
            folder=self._folder,
            generations=_generations_below(self._generations, root.rstrip("/")),
        )
        self._read.below.append((prefix, below._read))
        return below


def _generations_below(generations: Mapping[str, str], root: str) -> dict[str, str]:
    return {**below_folder(generations, f"{root}/"), **({"": generations[root]} if root in generations else {})}


def list_local(path: str, *, unfinished: bool = False) -> LocalFiles:
    """List a directory, or one file.

    The link a person typed is followed; those below are judged.

    Args:
        path: What is listed.
        unfinished: List what was not committed all the same, for who writes it.
    """
    found = stat_of(path)
    asked = path
    if found is None:
        path = left_between(path)
        found = stat_of(path)
    if found is None:
        raise CheckpointNotFoundError(f"{printable(asked)}: no such file or directory; check the name")
    if kind_of(path, found.st_mode) is LocationKind.DIRECTORY:
        return _list_directory(path, unfinished)
    if not unfinished and os.path.lexists(os.path.join(os.path.dirname(path), f".{os.path.basename(path)}{LEASE}")):
        from ckpt_core.storage.files.local_commits import refuse_unfinished_file

        refuse_unfinished_file(path)
    # A link may be named anything; the name that was typed is what formats see, the file it ends at is what is read.
    folder, name = os.path.split(path)
    entries = {name: FileEntry(name, found.st_size)}
    links = {name: os.path.realpath(path)}
    return LocalFiles(
        Location(path, LocationKind.FILE), folder or ".", entries, {name: Identity.of(found)}, links=links
    )


def _list_directory(root: str, unfinished: bool) -> LocalFiles:
    entries: dict[str, FileEntry] = {}
    identities: dict[str, Identity] = {}
    skipped: dict[str, str] = {}
    links: dict[str, str] = {}
    empty: list[str] = []
    aside: dict[str, str] = {}
    listed = _Folder(root)
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
                skipped[folder] = reason_of(error)
            continue
        with scan:
            before = seen
            for item in scan:
                path = f"{folder}/{item.name}" if folder else item.name
                seen += 1
                if seen > limit:
                    raise BudgetError(f"{printable(root)}: more than {limit} files; name a directory further down")
                found = _debris(item, path)
                if found is not None:
                    aside[path] = found[1]
                else:
                    _add(item, path, homes, entries, identities, skipped, links, pending)
        empty += [folder] if folder and seen == before else []
    generations = None
    if any(MARK in path for path in entries):
        from ckpt_core.storage.files.local_commits import committed_below

        chosen = committed_below(root, entries, unfinished)
        generations = chosen.generations
        aside |= chosen.left
        links |= {path: os.path.join(root, full) for path, full in chosen.names.items() if path != full}
        identities |= {path: identities[full] for path, full in chosen.names.items()}
        entries = {path: FileEntry(path, entries[full].size) for path, full in chosen.names.items()}
    return LocalFiles(
        Location(root, LocationKind.DIRECTORY),
        root,
        {path: entry for path, entry in sorted(entries.items()) if not is_ours(path, entries)},
        identities,
        skipped=dict(sorted(skipped.items())),
        debris=dict(sorted(aside.items())),
        links=links,
        folder=listed,
        empty=sorted(empty),
        generations=generations,
        unfinished=unfinished,
    )


def _debris(item: "os.DirEntry[str]", path: str) -> tuple[str, str] | None:
    try:
        return debris_folder(path) if item.is_dir(follow_symlinks=False) else debris(path)
    except OSError:
        return None  # `_add` meets the same, and says so


def _add(
    item: "os.DirEntry[str]",
    path: str,
    homes: tuple[str, ...],
    entries: dict[str, FileEntry],
    identities: dict[str, Identity],
    skipped: dict[str, str],
    links: dict[str, str],
    pending: list[str],
) -> None:
    try:
        if item.is_symlink():
            end = os.path.realpath(item.path)
            if not os.path.isfile(end):
                skipped[path] = "a link to a directory, or to nothing"
            elif not any(end.startswith(home.rstrip(os.sep) + os.sep) for home in homes):
                skipped[path] = "a link that leads out of the checkpoint"
            elif not _may_read(end):
                skipped[path] = DENIED
            else:
                links[path] = end
                identities[path] = Identity.of(os.stat(end))
                entries[path] = FileEntry(path, identities[path].size)
        elif item.is_dir(follow_symlinks=False):
            pending.append(path)
        elif item.is_file(follow_symlinks=False) and _is_denied(item.path):
            skipped[path] = DENIED
        elif item.is_file(follow_symlinks=False):
            identities[path] = Identity.of(item.stat(follow_symlinks=False))
            entries[path] = FileEntry(path, identities[path].size)
        else:
            skipped[path] = "not a regular file (a device, a pipe or a socket)"
    except FileNotFoundError:
        return
    except OSError as error:
        skipped[path] = reason_of(error)


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


def open_regular(path: str, shown: str) -> int:
    """A descriptor of a regular file. `shown` names it in errors."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError as error:
        raise gone(shown) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # as that of a seal may be: then there is none
            raise gone(shown) from error
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link or a socket has taken the file's place
            raise CorruptError(f"{printable(shown)}: not a regular file", code="CK002", path=shown) from error
        raise unreachable(shown, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorruptError(f"{printable(shown)}: not a regular file", code="CK002", path=shown)
    return descriptor


def fill(descriptor: int, shown: str, offset: int, out: memoryview) -> None:
    """Read until `out` is full; CorruptError where the file ends first."""
    done = 0
    while done < len(out):
        check_stop()
        try:
            count = os.preadv(descriptor, [out[done : done + _READ_AT_ONCE]], offset + done)
        except OSError as error:
            raise unreachable(shown, error) from error
        if not count:
            raise ends_early(shown, offset + len(out), offset + done)
        done += count
