"""Proves a store of versions.

Every record, table, index and alias, and every digest of every piece, once.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, CkptError, CorruptError
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.index import Index, parse_index
from ckpt_core.storage.versions.names import INDEXES, OBJECTS, TABLES, named, record_key
from ckpt_core.storage.versions.record import VersionRecord
from ckpt_core.storage.versions.stored_objects import StoredObjects
from ckpt_core.storage.versions.table import Piece
from ckpt_core.storage.versions.version_store import VersionStore

if TYPE_CHECKING:
    from ckpt_core.schema.access.targets import Progress

_SHOWN = 4


class Proof:
    """The findings of a store, and how much of it was read.

    Args:
        store: The store.

    Attributes:
        findings: What is wrong.
        versions: How many versions there are.
        pieces: How many pieces they are made of.
        nbytes: Bytes of those.
    """

    def __init__(self, store: VersionStore) -> None:
        self.findings: list[Finding] = []
        self.versions = self.pieces = self.nbytes = 0
        self._store = store
        self._of: dict[Piece, list[int]] = {}
        self._sizes: dict[str, int] = {}
        self._objects = StoredObjects(store, self._sizes)

    def prove(self, progress: "Progress | None" = None) -> None:
        """Read all of it."""
        records = list(self._records())
        whole = {record.number: record for record in records if record.is_whole}
        self.versions = len(whole)
        for record in whole.values():
            self._take(record)
        self._check_numbers()
        self._check_aliases(whole)
        if records:
            self._check_indexes(records[-1])
        if not whole and not self.findings:
            self._add("VS006", self._nothing(), hint="publish with ckpt publish REF STORE, or bring the records back")
        self._prove_pieces(progress)

    def prove_versions(self, records: Iterable[VersionRecord], progress: "Progress | None" = None) -> None:
        """Read the tables and pieces of some versions, and nothing else."""
        for record in records:
            self._take(record)
        self._prove_pieces(progress)

    def _records(self) -> Iterator[VersionRecord]:
        for number in self._store.numbers():
            try:
                yield self._store.record(number)
            except CorruptError as error:
                self.findings.append(Finding.of_error(error))

    def _take(self, record: VersionRecord) -> None:
        """Note the pieces of a version, or why there are none."""
        try:
            table = self._store.table(record)
            for path, rows in table.files.items():
                for _ in table.stored(path, 0, rows.size):
                    pass
            if table.content() != record.content:
                raise CorruptError("its table is of another content than its record", code="VS002")
            self._note_sizes(record.table, table.objects)
            for piece in table.pieces():
                self._of.setdefault(piece, []).append(record.number)
        except (CorruptError, IndexError) as error:
            message = f"{record.name}: cannot be opened: {str(error).partition(';')[0]}"
            self._add(getattr(error, "code", None) or "VS002", message, record.table)

    def _note_sizes(self, key: str, sizes: Mapping[str, int]) -> None:
        for name, size in sizes.items():
            known = self._sizes.setdefault(name, size)
            if known != size:
                self._add("VS002", f"{printable(key)}: has {size} bytes for {name}, and others have {known}", key)

    def _check_numbers(self) -> None:
        for gap in self._store.gaps():
            message = f"{named(gap)}: the record is lost, since there are later ones and none is ever removed"
            self._add("VS005", message, record_key(gap[0]))

    def _nothing(self) -> str:
        """Return why there is nothing to prove."""
        left = [self._store.below(one.key) for part in (OBJECTS, TABLES, INDEXES) for one in self._store.listed(part)]
        if not left:
            return f"{self._store}: nothing is published there yet, so that nothing is proved"
        return f"{self._store}: has no version, and {len(left)} objects of some, such as {printable(left[0])}"

    def _check_aliases(self, whole: Mapping[int, VersionRecord]) -> None:
        try:
            found = self._store.aliases()
        except CorruptError as error:
            self.findings.append(Finding.of_error(error))
            return
        for name, number in found.items():
            if number not in whole:
                message = f"{printable(name, 80)}: the alias stands for v{number}, which is not there"
                self._add("VS004", message, hint="let it stand for another with ckpt alias")

    def _check_indexes(self, last: VersionRecord) -> None:
        places = {piece.stored: piece.digest for piece in self._of}
        kinds = {piece.digest: piece.kind for piece in self._of}
        for key in last.indexes:
            try:
                index = parse_index(self._store.store.read(self._store.key(key)), key)
                self._check_index(key, index, places, kinds)
            except (CheckpointNotFoundError, CorruptError) as error:
                message = f"{printable(key)}: what may be stored once cannot be looked up: {error}"
                self._add(getattr(error, "code", None) or "VS002", message, key)

    def _check_index(
        self, key: str, index: Index, places: Mapping[ByteRange, bytes], kinds: Mapping[bytes, str]
    ) -> None:
        """Compare the rows of an index with the pieces.

        What is of pruned versions alone has a place, and no kind to prove it by.
        """
        others = index.sizes.keys() - self._sizes.keys()
        self._note_sizes(key, index.sizes)
        for name in others:
            self._objects.require(name)
        for digest, stored in index:
            if places.get(stored, digest) != digest:
                self._add("VS002", f"{key}: has another SHA-256 for byte {stored.offset} of {stored.path}", key)
            elif digest in kinds:
                self._of.setdefault(Piece(kinds[digest], digest, stored), [])

    def _prove_pieces(self, progress: "Progress | None") -> None:
        self.pieces, self.nbytes = len(self._of), sum(one.stored.length for one in self._of)
        if progress is not None:
            progress.begin(self.nbytes)
        lost: set[str] = set()
        for piece, numbers in sorted(self._of.items(), key=lambda one: (one[0].stored.path, one[0].stored.offset)):
            stored = piece.stored
            if stored.path in lost:
                continue
            try:
                right = _digest(self._objects, piece) == piece.digest
            except CkptError as error:
                if error.code not in ("VS001", "CK003", "CK004"):
                    raise
                lost.add(stored.path)
                every = sorted({n for one, held in self._of.items() if one.stored.path == stored.path for n in held})
                self._add("VS001", f"{error.message.partition(';')[0]}; of {_named(every)}", stored.path)
                continue
            if not right:
                message = (
                    f"{printable(piece.kind)} at byte {stored.offset}: its SHA-256 is not the one it was stored by; "
                )
                self._add("VS003", f"{message}of {_named(numbers)}", stored.path)
            if progress is not None:
                progress.advance(stored.length)

    def _add(self, code: str, message: str, path: str | None = None, *, hint: str | None = None) -> None:
        self.findings.append(Finding(code, Severity.ERROR, message, path, hint=hint or _RESTORE))


_RESTORE = "bring the object back from a copy of the store"


def _digest(objects: StoredObjects, piece: Piece) -> bytes:
    digest = hashlib.sha256(f"{piece.kind}\n".encode())
    slab = memoryview(bytearray(min(8 * knobs.slab_bytes(), piece.stored.length)))
    for at in range(0, piece.stored.length, len(slab) or 1):
        part = slab[: min(len(slab), piece.stored.length - at)]
        objects.read_into(ByteRange(piece.stored.path, piece.stored.offset + at, len(part)), part)
        digest.update(part)
    return digest.digest()


def _named(numbers: list[int]) -> str:
    """Return versions in words, the first of many.

    Where there is none it is an index.
    """
    if not numbers:
        return "an index"
    shown = ", ".join(f"v{number}" for number in sorted(set(numbers))[:_SHOWN])
    more = len(set(numbers)) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
