"""The files of a plan on their way into a store.

Uploads in parts, and one put for what fits into one part.

Memory: of each worker the parts that it has begun. That is one for each file that a tensor goes to at once, one more
where the checksum of a tensor stands before it, and one where two workers meet: with plans of whole tensors, three.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any

from ckpt_core.errors import CkptError
from ckpt_core.log import Logger
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import FilePlan, TensorKey, WritePlan, Written
from ckpt_core.storage.objects.store import ABSENT, ObjectStore, UploadedPart
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.workers import split
from ckpt_core.storage.writing.jobs import Destination, Job, as_lines, checksums, of_lines, spread
from ckpt_core.storage.writing.sinks import Sink
from ckpt_core.storage.writing.uploads.journal import Noted, StoreJournal, abort_unnoted, note_uploads
from ckpt_core.storage.writing.uploads.parts import FileParts

_log = Logger(__name__)

_Part = tuple[str, int]
"""Path of a file, and index of a part of it from 0."""


class UploadedFiles(Sink):
    """The files of a plan below a folder of a store.

    Args:
        plan: The files.
        store: The store.
        folder: The key of the folder, with a slash behind it.
        noted: Its journal, which was begun; None at another rank than 0.
        resumed: Whether an earlier run may have put something there.
        check: Raises where the place is not ours any more; called before each part that is put.
        told: Told, at rank 0, of the uploads by path before the first part of any is put.

    Attributes:
        versions: Once it is complete: the version of each object, by path.
    """

    def __init__(
        self,
        plan: WritePlan,
        store: ObjectStore,
        folder: str,
        *,
        noted: Noted | None,
        resumed: bool,
        check: Callable[[], None],
        told: Callable[[Mapping[str, str]], None],
    ) -> None:
        self.versions: dict[str, str] = {}
        self._files = {file.path: file for file in plan.files}
        self._store = store
        self._folder = folder
        self._noted = noted
        self._resumed = resumed
        self._check = check
        self._told = told
        self._ranks = ALONE
        self._journal = StoreJournal(store, folder, 0)
        self._uploads: dict[str, tuple[str, int]] = {}
        self._tags: dict[_Part, UploadedPart] = {}
        self._stored: set[_Part] = set()
        self._parts: dict[str, FileParts] = {}
        self._owners: dict[_Part, int] = {}
        self._unnoted: dict[TensorKey, _Unnoted] = {}
        self._waiting: dict[_Part, list[_Unnoted]] = {}
        self._given: set[TensorKey] = set()
        self._lock = Lock()

    @contextmanager
    def opened(self, ranks: Ranks) -> Iterator[None]:
        self._ranks = ranks
        known = ranks.from_leader(self._begin() if ranks.leads else None)
        self._uploads = {path: (id, size) for path, id, size in known["uploads"]}
        self.versions = dict(known["versions"])
        for path, *part in known["parts"]:
            found = UploadedPart(*part)
            self._tags[path, found.number - 1] = found
        self._stored = {*self._tags, *((path, 0) for path in self.versions)}
        self._journal = StoreJournal(self._store, self._folder, known["number"] + ranks.rank, ranks.world)
        try:
            yield
        except BaseException:
            self._note_what_is_there()
            raise

    def finished(self, jobs: Sequence[Job]) -> dict[TensorKey, Written]:
        said = self._noted.tensors if self._noted is not None else {}
        noted = of_lines(self._ranks.from_leader(as_lines(said)))
        done = {
            job.key: noted[job.key] for job in jobs if job.key in noted and self._stored.issuperset(self._touched(job))
        }
        left = [job for job in jobs if job.key not in done]
        self._owners = self._first_ranks(split(left, [job.nbytes for job in left], self._ranks.world))
        self._parts = {path: self._file_parts(file) for path, file in self._files.items()}
        for job in jobs:
            if job.key in done:
                self._tell_checksums(job, done[job.key])
        return done

    def write(self, path: str, data: memoryview | bytes, offset: int) -> None:
        self._parts[path].give(offset, data)

    def note(self, job: Job, written: Written) -> None:
        self._tell_checksums(job, written)
        with self._lock:
            self._given.add(job.key)
            missing = set(self._touched(job)) - self._stored
            one = self._unnoted[job.key] = _Unnoted(job, written, len(missing))
            for part in missing:
                self._waiting.setdefault(part, []).append(one)
        if not missing:
            self._add(one)

    def settle(self, mine: Sequence[Job]) -> None:
        """Settle nothing yet.

        What parts of this rank wait for is known to others.
        """

    def complete(self, checkpoint: Checkpoint, jobs: Sequence[Job], done: Mapping[TensorKey, Written]) -> None:
        self._give_heads(checkpoint, jobs)
        crcs = checksums(jobs, done)
        for path, parts in self._parts.items():
            parts.finish(checkpoint, crcs.get(path, {}))
        self._gather()
        for one in list(self._unnoted.values()):
            self._add(one)
        self._journal.flush()
        self._ranks.exchange(None)  # from here on a rerun reads nothing again
        self._complete_uploads()

    def _complete_uploads(self) -> None:
        """Make objects of the uploads, at rank 0."""
        if self._ranks.leads:
            for path, (id, _) in self._uploads.items():
                self._check()
                parts_of = [self._tags[path, index] for index in range(self._parts[path].count)]
                self.versions[path] = self._store.complete(self._folder + path, id, parts_of).version
            if self._uploads and self._noted is not None:
                abort_unnoted(self._store, self._folder, self._noted)

    def _begin(self) -> dict[str, Any]:
        """Begin the uploads, or find those that were begun.

        Returns what every rank has to know of them.
        """
        assert self._noted is not None
        versions = self._whole() if self._resumed else {}
        left = [file for file in self._files.values() if file.path not in versions]
        uploads, parts = {}, []
        for file in left:
            if file.path in self._noted.uploads:
                id, size = self._noted.uploads[file.path]
                known = self._store.parts(self._folder + file.path, id)
                parts += [[file.path, *part] for part in known if _fits(part, file.size, size)]
                if known:  # else it may have been given up, by whoever tidies the bucket
                    uploads[file.path] = id, size
                else:
                    self._store.abort(self._folder + file.path, id)
        number, new = self._noted.next_number, {}
        for file in left:
            size = self._store.part_bytes(file.size)
            if file.path not in uploads and file.size > size:
                new[file.path] = self._store.begin_upload(self._folder + file.path), size
        if new:
            at = note_uploads(self._store, self._folder, number, new)
            self._noted = replace(self._noted, uploads={**self._noted.uploads, **new}, begun=self._noted.begun or at)
            number += 1
        if uploads or new:
            self._told({path: id for path, (id, _) in {**uploads, **new}.items()})
        listed = [[path, id, size] for path, (id, size) in {**uploads, **new}.items()]
        return {"uploads": listed, "versions": versions, "parts": parts, "number": number}

    def _whole(self) -> dict[str, str]:
        """Return the versions of the objects of an earlier run.

        They are whole, as all objects are.
        """
        found = {one.key.removeprefix(self._folder): one for one in self._store.find(self._folder)}
        own = {path: found[path] for path in self._files if path in found}
        return {path: one.version for path, one in own.items() if one.size == self._files[path].size}

    def _file_parts(self, file: FilePlan) -> FileParts:
        path = file.path
        put = partial(self._put, path)
        there = [index for of, index in self._stored if of == path]

        def mine(index: int) -> bool:
            return self._owners.get((path, index), 0) == self._ranks.rank

        return FileParts(file, self._part_bytes(path), put, there=there, mine=mine)

    def _part_bytes(self, path: str) -> int:
        return self._uploads[path][1] if path in self._uploads else max(self._files[path].size, 1)

    def _put(self, path: str, index: int, data: bytearray) -> None:
        self._check()
        key = self._folder + path
        if path in self._uploads:
            self._tags[path, index] = self._store.put_part(key, self._uploads[path][0], index + 1, memoryview(data))
        else:
            self.versions[path] = self._store.put(key, memoryview(data), ABSENT).version
        with self._lock:
            self._stored.add((path, index))
            waited = self._waiting.pop((path, index), [])
            for one in waited:
                one.missing -= 1
            ready = [one for one in waited if not one.missing]
        for one in ready:
            self._add(one)

    def _add(self, one: "_Unnoted") -> None:
        if self._unnoted.pop(one.job.key, None) is not None:
            self._journal.add(one.job.key, one.written, one.job.nbytes)

    def _note_what_is_there(self) -> None:
        """Note what is done where the work has stopped.

        It did for a reason of its own: a note that fails too only makes a rerun read more.
        """
        try:
            self._journal.flush()
        except CkptError as error:
            _log.warning("%s: not all that is finished could be noted (%s)", self._folder, error)

    def _tell_checksums(self, job: Job, written: Written) -> None:
        for place, crc in zip(job.places, written.crcs, strict=True):
            self._parts[place.path].know(place.section, crc)

    def _touched(self, job: Job) -> Iterator[_Part]:
        """The parts that a tensor has bytes in."""
        for place in job.places:
            yield from touched(place, self._part_bytes(place.path))

    def _first_ranks(self, shares: Sequence[Sequence[Job]]) -> dict[_Part, int]:
        """Return the owner of each part, where there are several ranks.

        The rank of the first byte of a tensor in it.
        """
        first: dict[_Part, tuple[int, int]] = {}
        for rank, share in enumerate(shares if len(shares) > 1 else ()):
            for job in share:
                for place in job.places:
                    size = self._part_bytes(place.path)
                    for part in touched(place, size):
                        begins = max(place.offset, part[1] * size), rank
                        first[part] = min(first.get(part, begins), begins)
        return {part: rank for part, (_, rank) in first.items()}

    def _give_heads(self, checkpoint: Checkpoint, jobs: Sequence[Job]) -> None:
        """Fill the parts of this rank that others' tensors reach into.

        Those are read as far as needed.
        """
        for job in jobs if self._ranks.world > 1 else ():
            until = max(map(self._needed, job.places), default=0)
            if until and job.key not in self._given:
                self._give_head(checkpoint, job, until)

    def _give_head(self, checkpoint: Checkpoint, job: Job, until: int) -> None:
        at = 0
        for _, written in checkpoint.stream(*job.key):
            for _, place, piece, offset in spread(job, written, at):
                self.write(place.path, piece, offset)
            at += len(written)
            if at >= until:
                return

    def _needed(self, place: Destination) -> int:
        """Return the end of the bytes that this rank still needs.

        Of the tensor of a place, in parts that this rank has to fill.
        """
        size, end = self._part_bytes(place.path), place.offset + place.stop - place.start
        mine = [
            index
            for path, index in touched(place, size)
            if (path, index) not in self._stored and self._owners.get((path, index), 0) == self._ranks.rank
        ]
        return place.start + min((mine[-1] + 1) * size, end) - place.offset if mine else 0

    def _gather(self) -> None:
        """Tell every rank the parts and objects of all."""
        if self._ranks.world == 1:
            return
        own = [[path, *part] for (path, _), part in self._tags.items()]
        for parts, versions in self._ranks.exchange([own, self.versions]):
            self.versions.update(versions)
            for path, *part in parts:
                found = UploadedPart(*part)
                self._tags[path, found.number - 1] = found


class _Unnoted:
    """A tensor whose bytes were all given.

    It knows in how many parts they are that the store does not have yet.
    """

    __slots__ = ("job", "missing", "written")

    def __init__(self, job: Job, written: Written, missing: int) -> None:
        self.job, self.written, self.missing = job, written, missing


def touched(place: Destination, part_bytes: int) -> Iterator[_Part]:
    """Yield the parts that a stretch of a tensor touches."""
    if place.stop > place.start:
        last = place.offset + place.stop - place.start - 1
        yield from ((place.path, index) for index in range(place.offset // part_bytes, last // part_bytes + 1))


def _fits(part: UploadedPart, size: int, part_bytes: int) -> bool:
    """Return whether a stored part is one of a file so long.

    Cut like this.
    """
    start = (part.number - 1) * part_bytes
    return 0 < part.size == min(part_bytes, size - start)
