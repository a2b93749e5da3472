"""The files of a plan on a disk.

Each is open at every rank, its space reserved, written at its offsets, synced.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ckpt_core import knobs
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import TensorKey, WritePlan, Written
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.workers import run, split
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.jobs import Job, as_lines, checksums, of_lines
from ckpt_core.storage.writing.journal import Journal, finished_by_all
from ckpt_core.storage.writing.sinks import Sink, rest_of

SECTOR = 4096
"""Bytes of which a write past the page cache is a multiple, and at whose multiples it begins, on any disk."""


class LocalFiles(Sink):
    """The files of a plan below a folder.

    Args:
        plan: The files.
        root: An existing folder, empty or begun by an interrupted run of the same plan.
        journal: Path of a journal that was begun, for work that can go on after a stop; None for work that cannot.
    """

    def __init__(self, plan: WritePlan, root: str, *, journal: str | None = None) -> None:
        self._plan = plan
        self._paths = {file.path: os.path.join(root, file.path) for file in plan.files}
        self._root = root
        self._journal = journal
        self._descriptors: dict[str, int] = {}
        self._direct: dict[str, int | None] = {}
        self._book: Journal | None = None

    @contextmanager
    def opened(self, ranks: Ranks) -> Iterator[None]:
        self._ranks = ranks
        try:
            if ranks.leads:
                self._make()
                ranks.exchange(None)
            else:
                ranks.exchange(None)
                self._descriptors.update((path, syscalls.open_existing(full)) for path, full in self._paths.items())
            yield
        finally:
            if self._book is not None:
                self._book.close()
            for descriptor in (*self._descriptors.values(), *self._direct.values()):
                if descriptor is not None:
                    os.close(descriptor)

    def finished(self, jobs: Sequence[Job]) -> dict[TensorKey, Written]:
        if self._journal is None:
            return {}
        found: dict[TensorKey, Written] = {}
        if self._ranks.leads:  # before any rank adds to its journal
            # No line of a journal may outlast the name of a file it speaks of.
            syscalls.sync_tree(os.path.dirname(self._journal))
            found = finished_by_all(self._journal)
        if self._ranks.world > 1:
            found = of_lines(self._ranks.from_leader(as_lines(found)))
        self._book = Journal(self._journal, self._by_full_path(), self._ranks.rank)
        return found

    def write(self, path: str, data: memoryview | bytes, offset: int) -> None:
        syscalls.write_at(self._descriptors[path], data, offset, self._paths[path])

    def write_past_cache(self, path: str, data: memoryview, offset: int) -> None:
        """Write bytes at their place, from memory that is aligned.

        Those that fill sectors go past the page cache.

        Whether a filesystem can do that is found out by `open_directly`, in one thread.
        """
        direct, whole = self._direct.get(path), len(data) // SECTOR * SECTOR
        if direct is None or offset % SECTOR or not whole:
            self.write(path, data, offset)
            return
        syscalls.write_direct(direct, self._descriptors[path], data[:whole], offset, self._paths[path])
        if whole < len(data):
            self.write(path, data[whole:], offset + whole)

    def open_directly(self, path: str) -> None:
        """Make a file ready for `write_past_cache`."""
        self._direct[path] = syscalls.open_direct(self._paths[path])

    def sync(self) -> None:
        """Make every file last.

        Several are synced at once: the disk writes its journal for all of them.
        """
        paths = sorted(self._descriptors)
        run(self._sync, split(paths, [1] * len(paths), knobs.workers()))

    def _sync(self, paths: Sequence[str]) -> None:
        for path in paths:
            syscalls.sync(self._descriptors[path], self._paths[path])

    def note(self, job: Job, written: Written) -> None:
        if self._book is not None:
            self._book.add(job.key, written, job.nbytes)

    def settle(self, mine: Sequence[Job]) -> None:
        if self._book is not None:
            self._book.finish()
        if self._ranks.world > 1:  # on another machine, rank 0's own sync does not put it on disk
            for path in {place.path for job in mine for place in job.places}:
                syscalls.sync(self._descriptors[path], self._paths[path])

    def complete(self, checkpoint: Checkpoint, jobs: Sequence[Job], done: Mapping[TensorKey, Written]) -> None:
        if not self._ranks.leads:
            return
        crcs = checksums(jobs, done)
        for file in self._plan.files:
            for offset, data in rest_of(file, checkpoint, crcs.get(file.path, {})):
                self.write(file.path, data, offset)
            syscalls.sync(self._descriptors[file.path], self._paths[file.path])

    def _make(self) -> None:
        """Make the files, and reserve their space.

        Those that an interrupted run has made are taken.
        """
        syscalls.require_space(self._root, self._plan.size - self._reserved())
        for file in self._plan.files:
            self._make_folders(os.path.dirname(file.path))
            full = self._paths[file.path]
            descriptor = syscalls.create(full) if self._journal is None else syscalls.reopen(full)
            self._descriptors[file.path] = descriptor
            syscalls.allocate(descriptor, file.size, full)

    def _make_folders(self, folder: str) -> None:
        for depth in range(folder.count("/") + 1 if folder else 0):
            syscalls.make_directory(os.path.join(self._root, *folder.split("/")[: depth + 1]))

    def _reserved(self) -> int:
        """Return the bytes of disk that an earlier run has reserved.

        The files of the plan count, and no other.
        """
        return sum(os.lstat(full).st_blocks * 512 for full in self._paths.values() if os.path.lexists(full))

    def _by_full_path(self) -> dict[str, int]:
        return {self._paths[path]: descriptor for path, descriptor in self._descriptors.items()}
