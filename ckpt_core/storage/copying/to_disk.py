"""A copy onto a disk.

Parts written into the stage, noted beside it, and read back from it.

A note of the journal holds the digests of a part's blocks. A rerun compares the staged bytes with them before it goes
on from there: the notes need no sync, for neither a kill nor a loss of power can make them vouch for what is not there.
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from threading import Lock
from typing import TYPE_CHECKING

from ckpt_core.errors import CorruptError
from ckpt_core.schema.text import printable
from ckpt_core.storage.checking.checked_files import CheckedFiles
from ckpt_core.storage.copying.cloning import clone, copy_bytes
from ckpt_core.storage.copying.copied import Copied
from ckpt_core.storage.copying.work import CopyWork, FilePart, PartKey, digests_of, each
from ckpt_core.storage.workers import run, split
from ckpt_core.storage.writing import syscalls

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress

PART = 8 << 20
"""Bytes of a part: what a kill can make a rerun move again is one for each worker."""


def part_bytes(size: int) -> int:
    return PART


def copy_to_disk(
    work: CopyWork, files: CheckedFiles, folder: str, journal: str, *, workers: int, progress: "Progress | None"
) -> Copied:
    """Copy every file of some work into a folder.

    The files are synced, and read back.

    Args:
        work: What is copied.
        files: Its listing, which checks what is read.
        folder: The stage, empty or begun by a stopped run of the same work.
        journal: A journal that was begun for this work.
        workers: Threads.
        progress: Told of the bytes that are moved, then of those that are read back.

    Returns:
        The digests of all blocks, and what was moved, kept, shared and taken from a cache.

    Raises:
        BudgetError: The disk is full.
        CorruptError: What was read does not match a checksum, or what was written reads back otherwise.
        CkptError: A read or a write failed.
    """
    copy = _DiskCopy(work, files, folder, journal, workers)
    copy.make_files()
    kept = copy.kept()
    begun = {part.path for part in kept}
    shared = copy.prove(copy.shared(begun))
    taken = copy.taken(begun)
    cached = copy.prove(taken)
    todo = [part for part in work.parts if part.key not in copy.blocks]
    if progress is not None:
        progress.begin(sum(part.length for part in todo))
    work.sums.waits = not kept
    copy.move(todo, progress)
    files.finish()
    work.sums.finish(copy.read_staged_into)
    if progress is not None:
        progress.begin(sum(part.length for part in todo))
    copy.read_back(todo, progress)
    copy.sync()
    copy.cache(taken)
    return Copied(copy.blocks, moved=len(todo), kept=len(kept), shared=shared, cached=cached)


class _DiskCopy:
    """A copy under way.

    `blocks` are the digests of the parts that are proved to be in the stage.
    """

    def __init__(self, work: CopyWork, files: CheckedFiles, folder: str, journal: str, workers: int) -> None:
        self.blocks: dict[PartKey, bytes] = {}
        self._work, self._files, self._folder, self._journal = work, files, folder, journal
        self._workers = workers
        self._lock = Lock()

    def make_files(self) -> None:
        """Make every file and reserve its space.

        A full disk shows so before anything is moved.
        """
        there = [self._path(path) for path in self._work.paths if os.path.lexists(self._path(path))]
        reserved = sum(os.lstat(path).st_blocks * 512 for path in there)
        syscalls.require_space(self._folder, max(self._work.nbytes - reserved, 0))
        for path in self._work.paths:
            self._make_folders(path)
            descriptor = syscalls.reopen(self._path(path))
            try:
                syscalls.allocate(descriptor, self._files.size(path), self._path(path))
            finally:
                os.close(descriptor)

    def kept(self) -> list[FilePart]:
        """Return the parts that an earlier run has moved.

        Each was compared with what that run noted.
        """
        noted = dict(_noted(self._journal))
        found = [part for part in self._work.parts if part.key in noted]
        wrong: set[PartKey] = set()

        def compare(part: FilePart, buffer: memoryview) -> None:
            blocks = self._read_staged(part, buffer)
            if blocks != noted[part.key]:
                wrong.add(part.key)  # of the stage, which says nothing of the source
                return
            self._files.see(part.path, part.offset, buffer)
            self._work.sums.see(part.path, part.offset, buffer)
            self.blocks[part.key] = blocks

        self._work.sums.waits = False  # for parts that no run has moved
        each(compare, found, self._workers)
        return [part for part in found if part.key not in wrong]

    def shared(self, begun: set[str]) -> set[str]:
        """Share the storage of source files; return their paths."""
        return {path for path in self._work.paths if path not in begun and self._clone(path)}

    def taken(self, begun: set[str]) -> set[str]:
        """Copy files out of a cache of this machine.

        Returns the paths of those whose staged bytes are right.
        """
        paths = [path for path in self._work.paths if path not in begun and self._work.sums.knows(path)]
        sizes = [self._files.size(path) for path in paths]

        def take(share: list[str]) -> list[str]:
            return [path for path in share if self._take(path)]

        return {path for part in run(take, split(paths, sizes, self._workers)) for path in part}

    def prove(self, paths: set[str]) -> int:
        """Compare whole staged files with every checksum.

        Returns how many parts need no moving so.
        """
        parts = [part for part in self._work.parts if part.path in paths]

        def prove(part: FilePart, buffer: memoryview) -> None:
            self.blocks[part.key] = self._read_staged(part, buffer)
            self._files.see(part.path, part.offset, buffer)

        each(prove, parts, self._workers)
        return len(parts)

    def move(self, parts: list[FilePart], progress: "Progress | None") -> None:
        """Read parts, compare them with every checksum, write them, and note each."""

        def one(part: FilePart, buffer: memoryview) -> None:
            blocks = self._work.read(part, buffer)
            self._write(part, buffer)
            self._note(part, blocks)
            if progress is not None:
                progress.advance(part.length)

        each(one, parts, self._workers)

    def read_back(self, parts: list[FilePart], progress: "Progress | None") -> None:
        """Compare the staged bytes with those that were read."""

        def one(part: FilePart, buffer: memoryview) -> None:
            if self._read_staged(part, buffer) != self.blocks[part.key]:
                message = f"{printable(part.path)}: bytes {part.offset} to {part.end} read back otherwise than written"
                raise CorruptError(f"{message}; nothing was committed", code="CP001", path=part.path, hint=_AGAIN)
            if progress is not None:
                progress.advance(part.length)

        each(one, parts, self._workers)

    def sync(self) -> None:
        """Put every file on disk."""
        for path in self._work.paths:
            descriptor = syscalls.reopen(self._path(path))
            try:
                syscalls.sync(descriptor, self._path(path))
            finally:
                os.close(descriptor)

    def _clone(self, path: str) -> bool:
        source = self._files.local_path(path)
        if source is None or not self._files.size(path):
            return False
        return clone(source, self._path(path), opened=lambda descriptor: self._files.opened(path, descriptor))

    def _take(self, path: str) -> bool:
        """Copy a file out of a cache.

        Returns whether what is staged then has the hash that its place records.
        """
        cached = self._files.cached(path)
        size = self._files.size(path)
        if cached is None or not copy_bytes(cached, self._path(path), size):
            return False
        return self._work.sums.prove(path, self.read_staged_into)

    def cache(self, taken: set[str]) -> None:
        """Offer proved files to the cache of their place.

        Those that came from there are left out.
        """
        for path in self._work.paths:
            if path not in taken and self._work.sums.knows(path):
                self._files.keep(path, self._path(path))

    def _write(self, part: FilePart, data: memoryview) -> None:
        path = self._path(part.path)
        descriptor = syscalls.reopen(path)
        try:
            syscalls.write_at(descriptor, data, part.offset, path)
        finally:
            os.close(descriptor)

    def _note(self, part: FilePart, blocks: bytes) -> None:
        line = "\n" + json.dumps([*part.key, b64encode(blocks).decode()])
        with self._lock:
            self.blocks[part.key] = blocks
            syscalls.append(self._journal, line.encode())

    def _read_staged(self, part: FilePart, buffer: memoryview) -> bytes:
        """Return the digests of a staged part, which fills the buffer."""
        self.read_staged_into(part.path, part.offset, buffer)
        return digests_of(buffer)

    def read_staged_into(self, path: str, offset: int, buffer: memoryview) -> None:
        """Fill memory with the bytes of a staged file."""
        staged = self._path(path)
        descriptor = syscalls.reopen(staged)
        try:
            syscalls.read_at(descriptor, buffer, offset, staged)
        finally:
            os.close(descriptor)

    def _path(self, path: str) -> str:
        return os.path.join(self._folder, self._work.named(path))

    def _make_folders(self, path: str) -> None:
        parts = self._work.named(path).split("/")[:-1]
        for count in range(1, len(parts) + 1):
            syscalls.make_directory(os.path.join(self._folder, *parts[:count]))


_AGAIN = "run it again; where it comes back, memory or that disk returns other bytes than were put there"


def _noted(journal: str) -> Iterator[tuple[PartKey, bytes]]:
    """Yield the notes of a journal, without its first line.

    One that a stop tore is passed over: the next begins a line.
    """
    with open(journal, "rb") as file:
        file.readline()
        for line in file:
            try:
                path, number, blocks = json.loads(line)
                yield (str(path), int(number)), b64decode(blocks)
            except (ValueError, TypeError):
                continue
