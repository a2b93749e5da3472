"""Proves a store of versions.

Every record, table and alias, and every digest of every piece, once.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, CkptError, CorruptError
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.versions.index import parse_index
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
        self._of: dict[ByteRange, tuple[Piece, list[int]]] = {}
        self._sizes: dict[str, int] = {}

    def prove(self, progress: "Progress | None" = None) -> None:
        """Read all of it."""
        records = list(self._records())
        whole = {record.number: record for record in records if record.is_whole}
        self.versions = len(whole)
        for record in whole.values():
            self._take(record)
        self._check_aliases(whole)
        if records:
            self._check_indexes(records[-1])
        self.pieces, self.nbytes = len(self._of), sum(one.length for one in self._of)
        if progress is not None:
            progress.begin(self.nbytes)
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
            self._sizes.update(table.objects)
            for piece in table.pieces():
                self._of.setdefault(piece.stored, (piece, []))[1].append(record.number)
            for path, rows in table.files.items():
                for _ in table.stored(path, 0, rows.size):
                    pass
        except (CorruptError, IndexError) as error:
            message = f"{record.name}: cannot be opened: {str(error).partition(';')[0]}"
            code = getattr(error, "code", None) or "VS002"
            self.findings.append(Finding(code, Severity.ERROR, message, record.table, hint=_RESTORE))

    def _check_aliases(self, whole: Mapping[int, VersionRecord]) -> None:
        try:
            found = self._store.aliases()
        except CorruptError as error:
            self.findings.append(Finding.of_error(error))
            return
        for name, number in found.items():
            if number not in whole:
                message = f"{printable(name, 80)}: the alias stands for v{number}, which is not there"
                hint = "let it stand for another with ckpt alias"
                self.findings.append(Finding("VS004", Severity.ERROR, message, hint=hint))

    def _check_indexes(self, last: VersionRecord) -> None:
        for key in last.indexes:
            try:
                parse_index(self._store.store.read(self._store.key(key)), key)
            except (CheckpointNotFoundError, CorruptError) as error:
                message = f"{key}: what may be stored once cannot be looked up: {error}"
                self.findings.append(Finding("VS002", Severity.ERROR, message, key, hint=_RESTORE))

    def _prove_pieces(self, progress: "Progress | None") -> None:
        objects = StoredObjects(self._store, self._sizes)
        lost: set[str] = set()
        for stored in sorted(self._of, key=lambda one: (one.path, one.offset)):
            piece, numbers = self._of[stored]
            if stored.path in lost:
                continue
            try:
                right = _digest(objects, piece) == piece.digest
            except CkptError as error:
                if error.code not in ("VS001", "CK003", "CK004"):
                    raise
                lost.add(stored.path)
                every = sorted({n for one, (_, held) in self._of.items() if one.path == stored.path for n in held})
                message = f"{error.message.partition(';')[0]}; of {_named(every)}"
                self.findings.append(Finding("VS001", Severity.ERROR, message, stored.path, hint=_RESTORE))
                continue
            if not right:
                message = f"{piece.kind} at byte {stored.offset}: its SHA-256 is not the one it was stored by; of "
                found = Finding("VS003", Severity.ERROR, message + _named(numbers), stored.path, hint=_RESTORE)
                self.findings.append(found)
            if progress is not None:
                progress.advance(stored.length)


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
    """Return versions in words, the first of many."""
    shown = ", ".join(f"v{number}" for number in sorted(set(numbers))[:_SHOWN])
    more = len(set(numbers)) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
