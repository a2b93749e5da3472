"""The files of a version, put together as they are read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ckpt_core import knobs
from ckpt_core.schema.access.files import FileEntry
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files.base import ListedFiles
from ckpt_core.storage.files.coalescing import batches, joined, parts_of
from ckpt_core.storage.files.range_checks import check_range
from ckpt_core.storage.versions.names import SIGN
from ckpt_core.storage.versions.record import VersionRecord
from ckpt_core.storage.versions.stored_objects import StoredObjects
from ckpt_core.storage.versions.table import VersionTable
from ckpt_core.storage.versions.version_store import VersionStore
from ckpt_core.storage.workers import in_worker, run


class VersionFiles(ListedFiles):
    """A listing of a version, which never changes.

    Args:
        location: The version.
        store: Its store.
        record: Its record.
        table: Its table; None to read it.
        names: What the table calls each listed path; None for all of it by its own names.
        objects: The objects, where listings of one version share them.
    """

    def __init__(
        self,
        location: Location,
        store: VersionStore,
        record: VersionRecord,
        table: VersionTable | None = None,
        *,
        names: Mapping[str, str] | None = None,
        objects: StoredObjects | None = None,
    ) -> None:
        table = table or store.table(record)
        self._names = {path: path for path in table.files} if names is None else names
        sizes = {path: table.files[full].size for path, full in self._names.items()}
        super().__init__(location, {path: FileEntry(path, size, record.content) for path, size in sizes.items()})
        self._store, self._record, self._table = store, record, table
        self._is_whole = names is None
        self._objects = objects or StoredObjects(store, table.objects)

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        check_range(path, offset, len(out), self.size(path))
        at = 0
        for stored in self._table.stored(self._names[path], offset, len(out)):
            self._objects.read_into(stored, out[at : at + stored.length])
            at += stored.length

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        for wanted in ranges:
            check_range(wanted.path, wanted.offset, wanted.length, self.size(wanted.path))
        for batch in batches(ranges):
            yield from self._batch(batch)

    def _batch(self, batch: Sequence[ByteRange]) -> Iterator[bytes]:
        """Yield ranges that are asked for at once.

        Near stretches of an object are one question.
        """
        lying = [list(self._table.stored(self._names[one.path], one.offset, one.length)) for one in batch]
        flat = [stored for own in lying for stored in own]
        spans = joined(flat)
        buffers = [memoryview(bytearray(span.length)) for span in spans]
        width = 1 if self._objects.is_local or in_worker() else min(knobs.remote_connections(), max(len(spans), 1))

        def read(share: list[int]) -> None:
            for number in share:
                self._objects.read_into(spans[number], buffers[number])

        numbers = list(range(len(spans)))
        run(read, [share for share in (numbers[first::width] for first in range(width)) if share])
        found = iter(parts_of(flat, spans, buffers))
        yield from (b"".join(next(found) for _ in own) for own in lying)

    def is_remote(self, path: str) -> bool:
        return not self._objects.is_local

    def below(self, root: str) -> "VersionFiles":
        if not root:
            return self
        single = root in self.entries
        cut = root.rfind("/") + 1 if single else len(root.rstrip("/")) + 1
        kept = [root] if single else [path for path in self.entries if path.startswith(f"{root.rstrip('/')}/")]
        kind = LocationKind.FILE if single else LocationKind.DIRECTORY
        return VersionFiles(
            replace(self.location, url=f"{self.location.url}/{root}", kind=kind),
            self._store,
            self._record,
            self._table,
            names={path[cut:]: self._names[path] for path in kept},
            objects=self._objects,
        )

    def beside(self, name: str) -> bytes | None:
        found = self._table.beside.get(name) if self._is_whole else None
        return None if found is None else bytes(found)

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        return  # a version does not change; what a pruning removes shows as it is read


class StoreFiles(ListedFiles):
    """A listing of a store itself: its sign alone.

    Args:
        location: The store.
        sign: The bytes of its sign.
    """

    def __init__(self, location: Location, sign: bytes) -> None:
        super().__init__(location, {SIGN: FileEntry(SIGN, len(sign))})
        self._sign = sign

    def read_into(self, path: str, offset: int, out: memoryview) -> None:
        check_range(path, offset, len(out), self.size(path))
        out[:] = self._sign[offset : offset + len(out)]

    def read_many(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        yield from (self.read(one.path, one.offset, one.length) for one in ranges)

    def below(self, root: str) -> "StoreFiles":
        return self
