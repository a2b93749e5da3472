"""One publication: its lease, and the objects that it stores.

Every object has a name that no other publication gives, below `objects/PUBLICATION/`. So what a pruning has condemned
never comes back under its name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.objects.lease import Lease, held
from ckpt_core.storage.versions.index import Index, index_of
from ckpt_core.storage.versions.known_pieces import indexes_of, read_index
from ckpt_core.storage.versions.names import INDEXES, LEASES, OBJECTS, TABLES, record_key
from ckpt_core.storage.versions.objects import write_object
from ckpt_core.storage.versions.prunings import CondemnedError, condemned_since, prunings_of
from ckpt_core.storage.versions.record import VersionRecord
from ckpt_core.storage.versions.version_store import Head, VersionStore

PACK = 64 << 20
"""Bytes of a pack, at most."""

SMALL = 4 << 20
"""Bytes up to which a piece goes into a pack: for a larger one a request more does not matter."""

_ROUNDS = 100

Slabs = Callable[[], Iterator[memoryview | bytes]]


@contextmanager
def publication(store: VersionStore) -> Iterator["Publication"]:
    """Hold a publisher's lease for a block.

    Raises:
        UnsupportedFormatError: The store keeps to no conditions, or nothing can be written there.
    """
    store.make()
    id = uuid4().hex
    with held(store.store, store.key(f"{LEASES}{id}.json"), place=store.url) as lease:
        yield Publication(store, id, lease)


class Publication:
    """The work of one publisher.

    Args:
        store: The store.
        id: Its own name, 32 hexadecimal digits.
        lease: Its lease, taken before anything else is looked at.

    Attributes:
        new: Bytes of pieces that were stored, since the store had none that is equal.
    """

    def __init__(self, store: VersionStore, id: str, lease: Lease) -> None:
        self.store, self.id, self.lease = store, id, lease
        self.new = 0
        self._lost: set[str] = set()
        self._began, self._indexes = self._look()
        self._own: dict[bytes, ByteRange] = {}
        self._sizes: dict[str, int] = {name: size for one in self._indexes for name, size in one.sizes.items()}
        self._named: set[str] = set()
        self._made: set[str] = set()
        self._pack = bytearray()
        self._packs = 0

    def find(self, digest: bytes, size: int) -> ByteRange | None:
        """Return where the store has a piece; None where it has none.

        `size` is in bytes.
        """
        own = self._own.get(digest)
        if own is not None:
            return own
        found = next((stored for one in self._indexes if (stored := one.find(digest, size)) is not None), None)
        if found is not None:
            self._named.add(found.path)
        return found

    def put_small(self, digest: bytes, data: bytes | memoryview) -> ByteRange:
        """Store a piece of at most `SMALL` bytes, packed with others."""
        if len(self._pack) + len(data) > PACK:
            self._put_pack()
        stored = ByteRange(self._pack_key(), len(self._pack), len(data))
        self._pack += data
        return self._note(digest, stored)

    def put_large(self, digest: bytes, size: int, slabs: Slabs) -> ByteRange:
        """Store a piece as an object of its own."""
        key = f"{OBJECTS}{self.id}/{digest.hex()}"
        self._write(key, size, slabs())
        return self._note(digest, ByteRange(key, 0, size))

    def flush(self) -> None:
        """Store what is in the last pack."""
        if self._pack:
            self._put_pack()

    @property
    def table_key(self) -> str:
        """The key of the table that this publication may store."""
        return f"{TABLES}{self.id}"

    def put_table(self, data: bytes) -> str:
        """Store a table; return its key."""
        self._write(self.table_key, len(data), iter([data]))
        return self.table_key

    def size_of(self, key: str) -> int:
        """Return the size of an object that a piece lies in."""
        return self._sizes[key]

    def commit(self, make: Callable[[Head], VersionRecord | None]) -> VersionRecord:
        """Give a version the next number, also where others publish at once.

        Args:
            make: Makes the record for a head; None where its newest version is the same already.

        Raises:
            CondemnedError: A pruning has freed what would be named: it must be published anew.
            ConditionFailedError: Others were first, again and again.
        """
        for _ in range(_ROUNDS):
            head = self.store.head()
            made = make(head)
            if made is None and head.newest is not None:
                return head.newest
            assert made is not None
            try:
                indexes = self._next_indexes(head)
            except CheckpointNotFoundError:
                continue  # a pruning has put others in their place since
            if condemned_since(self.store, self._began, head) & (self._made | self._named):
                raise CondemnedError
            self.lease.check()
            made = replace(made, number=head.next, indexes=indexes, prunings=prunings_of(head))
            try:
                self.store.store.put(self.store.key(record_key(made.number)), made.encoded(), head.condition)
                return made
            except (ConditionFailedError, CheckpointNotFoundError):
                continue
        raise ConditionFailedError(f"{self.store}: others publish there again and again; try again later")

    def _look(self) -> tuple[Head, list[Index]]:
        for _ in range(_ROUNDS):
            head = self.store.head()
            try:
                found = {key: read_index(self.store, key) for key in indexes_of(head)}
            except CheckpointNotFoundError:
                continue  # replaced by a pruning, which has put another record since
            self._lost = {key for key, index in found.items() if index is None}
            return head, [index for index in found.values() if index is not None]
        raise ConditionFailedError(f"{self.store}: prunings change its indexes again and again; try again later")

    def _next_indexes(self, head: Head) -> tuple[str, ...]:
        """Put an index of what was stored; return all keys.

        It is merged with those that are not larger, and names none that is lost.
        """
        kept = [key for key in indexes_of(head) if key not in self._lost]
        rows, sizes = dict(self._own), {one.path: self._sizes[one.path] for one in self._own.values()}
        if not rows:
            return tuple(kept)
        while kept:
            last = read_index(self.store, kept[-1])
            if last is not None and len(last) > len(rows):
                break
            if last is not None:
                rows, sizes = {**dict(last), **rows}, {**last.sizes, **sizes}
            kept.pop()
        key, data = f"{INDEXES}{self.id}-{uuid4().hex}", index_of(rows, sizes)
        self._write(key, len(data), iter([data]))
        return (*kept, key)

    def _pack_key(self) -> str:
        return f"{OBJECTS}{self.id}/pack-{self._packs:06}"

    def _put_pack(self) -> None:
        self._write(self._pack_key(), len(self._pack), iter([memoryview(self._pack)]))
        self._pack, self._packs = bytearray(), self._packs + 1

    def _write(self, key: str, size: int, slabs: Iterator[memoryview | bytes]) -> None:
        self.lease.check()
        self._made.add(key)
        self._sizes[key] = size
        write_object(self.store.store, self.store.key(key), size, slabs)

    def _note(self, digest: bytes, stored: ByteRange) -> ByteRange:
        self._own[digest] = stored
        self.new += stored.length
        return stored
