"""Listings of this machine's disks and mounts, and their reads.

The standard library alone is used.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from ckpt_core.errors import CheckpointNotFoundError, LocateError, ReplacedError
from ckpt_core.schema.access import FileEntry
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.side_files.reserved_names import BLOCKS, LEASE, is_ours
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.base import ListedFiles, below_folder
from ckpt_core.storage.files.identity import Identity, after_its_tick, replaced, while_fresh
from ckpt_core.storage.files.probe import kind_of, left_between, stat_of, unreachable
from ckpt_core.storage.files.range_checks import check_budget, check_range, gone, not_listed
from ckpt_core.storage.files.regular import Descriptors, fill, open_regular
from ckpt_core.storage.files.walking import walk


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

    The listings below it count too, each with its prefix.
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
        self._descriptors = Descriptors()

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
    folder = _Folder(root)
    found = walk(root, unfinished=unfinished)
    return LocalFiles(
        Location(root, LocationKind.DIRECTORY),
        root,
        {path: entry for path, entry in sorted(found.entries.items()) if not is_ours(path, found.entries)},
        found.identities,
        skipped=dict(sorted(found.skipped.items())),
        debris=dict(sorted(found.debris.items())),
        links=found.links,
        folder=folder,
        empty=sorted(found.empty),
        generations=found.generations,
        unfinished=unfinished,
    )
