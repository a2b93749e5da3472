"""A copy into a store of objects.

Parts put as they are read, each noted in the store, so that none is put twice.

A file of one part is put at once, a longer one is an upload. What is in the store and what it was made of stand in the
journal there; a rerun, also one of another machine, compares that with what the store says of its parts and objects.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from ckpt_core.errors import CheckpointNotFoundError, CkptError, CorruptError
from ckpt_core.schema.text import printable
from ckpt_core.storage.copying.copied import Copied
from ckpt_core.storage.copying.noted_parts import NOTED_AFTER, PartNotes, PutPart, noted_parts
from ckpt_core.storage.copying.within_store import Within
from ckpt_core.storage.copying.work import CopyWork, FilePart, PartKey, each
from ckpt_core.storage.objects.store import ABSENT, StoredObject, UploadedPart
from ckpt_core.storage.writing.uploads.folder import StoreFolder
from ckpt_core.storage.writing.uploads.journal import Noted, abort_unnoted, note_uploads

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress

_READ = "read"
"""The tag of a part that the store copies itself, and that was read to be proved."""


def copy_to_store(
    work: CopyWork,
    place: StoreFolder,
    *,
    workers: int,
    within: Within | None = None,
    progress: "Progress | None" = None,
) -> tuple[Copied, dict[str, str]]:
    """Copy every file of some work into a folder of a store.

    What the store says of each is compared.

    Args:
        work: What is copied.
        place: Where to.
        workers: Threads, each with a part in memory.
        within: Where the files lie in this very server, where it is to copy them itself.
        progress: Told of the bytes that are read.

    Returns:
        What was done, and the version of each object, by its path in the copy.

    Raises:
        CorruptError: What was read does not match a checksum, or the store has other bytes than were put.
        CkptError: A read or a put failed.
    """
    copy = _StoreCopy(work, place, within)
    copy.go_on()
    todo = [part for part in work.parts if part.key not in copy.done]
    if progress is not None:
        progress.begin(sum(part.length for part in todo))
    work.sums.waits = not copy.done
    copy.move(todo, workers, progress)
    work.files.finish()
    work.sums.finish(work.files.read_into)
    versions = copy.completed()
    shared = 0 if within is None else len(todo)
    blocks = {key: part.blocks for key, part in copy.done.items()}
    return Copied(blocks, len(todo) - shared, len(work.parts) - len(todo), shared), versions


def requests_of(work: CopyWork, *, within: bool) -> int:
    """Return about how many requests a copy into a store takes.

    Notes included; a few more commit it.
    """
    several = {part.path for part in work.parts if part.number > 1}
    puts = len(work.paths) if within else len(work.parts) + 2 * len(several)
    return puts + min(len(work.parts), -(-work.nbytes // NOTED_AFTER)) + 1


class _StoreCopy:
    """A copy under way.

    `done` are the parts that are in the store, `_objects` the versions of files that are whole.
    """

    def __init__(self, work: CopyWork, place: StoreFolder, within: Within | None) -> None:
        self.done: dict[PartKey, PutPart] = {}
        self._work, self._place = work, place
        self._store, self._folder, self._check = place.store, place.folder, place.check
        self._within = within
        self._sources = {} if within is None else {path: self._version_of(key) for path, key in within.keys.items()}
        self._parts: dict[str, list[FilePart]] = {path: [] for path in work.paths}
        for part in work.parts:
            self._parts[part.path].append(part)
        self._uploads: dict[str, str] = {}
        self._objects: dict[str, str] = {}
        self._left: Counter[str] = Counter()
        self._notes = PartNotes(self._store, self._folder, place.noted.next_number)
        self._lock = Lock()

    def go_on(self) -> None:
        """Take up an earlier run of the same work.

        What is left is begun.
        """
        if len(self._place.noted.keys) > 1:
            self._take_up(self._place.noted)
        self._begin_uploads()
        self._left.update(part.path for part in self._work.parts if part.key not in self.done)

    def move(self, parts: Sequence[FilePart], workers: int, progress: "Progress | None") -> None:
        """Read parts, compare them with every checksum, put them, and note each."""

        def one(part: FilePart, buffer: memoryview) -> None:
            self._check()
            blocks = self._work.read(part, buffer)
            self._add(part, PutPart(self._put(part, buffer), part.length, blocks))
            if progress is not None:
                progress.advance(part.length)

        try:
            each(one, parts, workers)
        finally:
            with suppress(CkptError):  # what is not noted is moved again; the work has failed for a reason of its own
                self._notes.flush()

    def completed(self) -> dict[str, str]:
        """Return the version of every object.

        The store must say the size and version of each that it was put with.
        """
        for path in self._work.paths:
            if path not in self._objects:
                self._objects[path] = self._made(path)
        if self._uploads:
            abort_unnoted(self._store, self._folder, self._place.noted)
        there = self._there()
        for path in self._work.paths:
            found = there.get(self._work.named(path))
            if found is None or (found.size, found.version) != (self._work.files.size(path), self._objects[path]):
                raise self._unlike(path)
        return {self._work.named(path): version for path, version in self._objects.items()}

    def _take_up(self, noted: Noted) -> None:
        claimed = noted_parts(self._store, noted.keys)
        there, alive = self._there(), {upload.id for upload in self._store.uploads(self._folder)}
        for path, parts in self._parts.items():
            known = {part.key: claimed[part.key] for part in parts if part.key in claimed}
            upload, _ = noted.uploads.get(self._work.named(path), ("", 0))
            if self._within is not None:
                held = {key for key, part in known.items() if part.tag == _READ}
            elif not upload:
                found = there.get(self._work.named(path))
                held = {key for key, part in known.items() if found is not None and found.version == part.tag}
            elif upload in alive:
                self._uploads[path] = upload
                listed = {(path, part.number): part for part in self._store.parts(self._key(path), upload)}
                held = {
                    key for key, part in known.items() if key in listed and listed[key][1:] == (part.size, part.tag)
                }
            else:
                held = set(known) if self._is_whole(path, upload, known, there) else set()
            self.done |= {key: known[key] for key in held}

    def _is_whole(
        self, path: str, upload: str, known: Mapping[PartKey, PutPart], there: Mapping[str, StoredObject]
    ) -> bool:
        """Return whether an earlier run made a file of its parts.

        It was stopped before it could say so.
        """
        parts = self._parts[path]
        if self._work.named(path) not in there or any(part.key not in known for part in parts):
            return False
        try:
            self._objects[path] = self._joined(path, upload, known)
        except CkptError:
            return False
        return True

    def _begin_uploads(self) -> None:
        """Begin and note the uploads that several parts need.

        Every file that is neither whole nor has one gets one.
        """
        none = [path for path in self._work.paths if path not in self._uploads and path not in self._objects]
        new = [path for path in none if len(self._parts[path]) > 1 and self._within is None]
        begun = {path: self._store.begin_upload(self._key(path)) for path in new}
        if begun:
            told = {self._work.named(path): (id, self._parts[path][0].length) for path, id in begun.items()}
            note_uploads(self._store, self._folder, self._notes.take_number(), told)
        self._uploads |= begun
        if self._uploads:
            self._place.told({self._work.named(path): id for path, id in self._uploads.items()})

    def _put(self, part: FilePart, data: memoryview) -> str:
        """Put a part, but not of what the store copies itself.

        Returns what the part is named in the store.
        """
        if self._within is not None:
            return _READ
        if part.path in self._uploads:
            return self._store.put_part(self._key(part.path), self._uploads[part.path], part.number, data).tag
        return self._store.put(self._key(part.path), data, ABSENT).version

    def _add(self, part: FilePart, put: PutPart) -> None:
        """Note a part.

        With the last of a file the object is made.
        """
        with self._lock:
            self.done[part.key] = put
            self._left[part.path] -= 1
            whole = not self._left[part.path]
        self._notes.add(part.key, put)
        if whole:
            self._notes.flush()
            self._objects[part.path] = self._made(part.path)

    def _made(self, path: str) -> str:
        """Return the version of an object.

        It is made of its parts, or by the store itself.
        """
        self._check()
        if self._within is not None:
            source, of = self._within.keys[path], self._within.store
            return self._store.copy(source, self._key(path), version=self._sources[path], of=of).version
        if path in self._uploads:
            return self._joined(path, self._uploads[path], self.done)
        if not self._parts[path]:
            return self._store.put(self._key(path), b"", ABSENT).version
        return self.done[self._parts[path][0].key].tag

    def _joined(self, path: str, upload: str, parts: Mapping[PartKey, PutPart]) -> str:
        made = [UploadedPart(part.number, part.length, parts[part.key].tag) for part in self._parts[path]]
        return self._store.complete(self._key(path), upload, made).version

    def _version_of(self, key: str) -> str:
        assert self._within is not None
        found = self._within.store.head(key)
        if found is None:
            raise CheckpointNotFoundError(f"{self._within.store.url}/{printable(key)}: nothing there; run it again")
        return found.version

    def _key(self, path: str) -> str:
        return self._folder + self._work.named(path)

    def _there(self) -> dict[str, StoredObject]:
        return {one.key.removeprefix(self._folder): one for one in self._store.find(self._folder)}

    def _unlike(self, path: str) -> CorruptError:
        place = f"{self._store.url}/{printable(self._key(path))}"
        message = f"{place}: is not what was put there: another program writes there too; nothing was committed"
        return CorruptError(message, code="CP002", path=path, hint="take another place, or stop the other program")
