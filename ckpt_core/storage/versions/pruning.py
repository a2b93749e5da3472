"""Frees what nothing names: marks, waits for publishers, checks again, condemns, deletes.

What decides is the record that condemns (`prunings.py`), not the wait: that lets who publishes now finish without
beginning anew.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError
from ckpt_core.log import Logger
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.objects.lease import held
from ckpt_core.storage.versions.directory_store import is_unfinished
from ckpt_core.storage.versions.index import index_of
from ckpt_core.storage.versions.known_pieces import indexes_of, read_index
from ckpt_core.storage.versions.names import INDEXES, OBJECTS, TABLES, record_key
from ckpt_core.storage.versions.objects import write_object
from ckpt_core.storage.versions.prunings import KEPT, prunings_of, put_condemned
from ckpt_core.storage.versions.publishers import PRUNING_LEASE, publication_of, publishers_at_work, wait_out
from ckpt_core.storage.versions.record import FENCE, GOING, PRUNED, VersionRecord
from ckpt_core.storage.versions.sweeping import sweep
from ckpt_core.storage.versions.version_store import Head, VersionStore

_log = Logger(__name__)

_PARTS = (OBJECTS, TABLES, INDEXES)
_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Unnamed:
    """The objects that nothing names, with their sizes.

    By key below the store.
    """

    objects: dict[str, int]

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(self.objects.values())


def unnamed(store: VersionStore, without: Iterable[int] = ()) -> Unnamed:
    """Return what nothing would name if some versions were not there.

    Of who publishes now nothing counts.

    Args:
        store: The store.
        without: Numbers of those versions.
    """
    listed = _listed(store)  # before the leases, and those before the records: who has ended since has a record
    at_work = publishers_at_work(store)
    head, named = store.head(), _named(store, set(without))
    named |= {*indexes_of(head)}
    left = {key: size for key, size in listed.items() if key not in named and publication_of(key) not in at_work}
    return Unnamed(left)


def free(store: VersionStore, versions: Sequence[VersionRecord], *, wait: Callable[[float], None] = time.sleep) -> int:
    """Free versions, and all that nothing names then.

    Returns the bytes of what was deleted.

    Args:
        store: The store.
        versions: The records of those that are to go; an alias that came to stand for one keeps it.
        wait: Sleeps for some seconds between two looks at publishers.

    Raises:
        LockedError: Another pruning is at work there, or a lease cannot be read, and was not renewed for its seconds.
        ConditionFailedError: Others publish again and again.
    """
    with held(store.store, store.key(PRUNING_LEASE), place=store.url) as lease:
        store.require_whole()
        for record in versions:
            _give_up(store, record)
        _settle(store, {record.number for record in versions})
        marked = unnamed(store).objects
        wait_out(store, wait)
        head, gone = _condemn(store, marked, lease.check)
        store.store.delete(map(store.key, gone))
        sweep(store, head)
    return sum(marked.get(key, 0) for key in gone)


def _give_up(store: VersionStore, record: VersionRecord) -> None:
    """Let a record say that its version was pruned.

    It stays where an alias stands for it. The record says first that the version is going, and keeps its table: what a
    stop leaves then is a version still. Who sets an alias takes that back after it, and aliases are looked at after the
    mark, so that one of the two sees the other.
    """
    if not record.is_whole:
        return
    going = replace(record, kind=GOING, mark=uuid4().hex)
    if not store.replace_record(record, going):
        _log.info("%s: %s changed meanwhile, and stays", store, record.name)
    elif record.number in store.aliases().values():
        store.replace_record(going, record.staying)
    else:
        store.replace_record(going, replace(going, kind=PRUNED, table="", mark=""))


def _settle(store: VersionStore, judged: Collection[int]) -> None:
    """Keep versions that a stopped pruning had marked.

    Those that this one would not free.
    """
    for record in store.records():
        if record.kind == GOING and record.number not in judged:
            store.replace_record(record, record.staying)


def _condemn(store: VersionStore, marked: Mapping[str, int], check: Callable[[], None]) -> tuple[Head, list[str]]:
    """Put the record after which nothing of these can be named.

    Returns the head, and what may be deleted.
    """
    for _ in range(_ROUNDS):
        head, at_work = store.head(), publishers_at_work(store)
        named = _named(store) | {*indexes_of(head)}
        gone = [key for key in marked if key not in named and publication_of(key) not in at_work]
        if not gone:
            return head, []
        indexes = _indexes_without(store, head, {*gone})
        gone += [key for key in indexes_of(head) if key not in indexes]
        pruning = put_condemned(store, gone)
        fence = VersionRecord(
            head.next,
            FENCE,
            created=store.store.now(),
            indexes=indexes,
            prunings=(*prunings_of(head), pruning)[-KEPT:],
        )
        check()
        try:
            there = store.store.put(store.key(record_key(fence.number)), fence.encoded(), head.condition)
            return Head(fence, there.version, head.newest), gone
        except (ConditionFailedError, CheckpointNotFoundError):
            made = [key for key in indexes if key not in indexes_of(head)]
            store.store.delete(map(store.key, (pruning, *made)))
    raise ConditionFailedError(f"{store}: others publish there again and again; try again later")


def _indexes_without(store: VersionStore, head: Head, gone: set[str]) -> tuple[str, ...]:
    """Return indexes that know nothing of what is condemned.

    Those that are lost are left out.
    """
    kept: list[str] = []
    rows: dict[bytes, ByteRange] = {}
    sizes: dict[str, int] = {}
    for key in indexes_of(head):
        index = read_index(store, key)
        if index is None:
            continue
        if gone.isdisjoint(index.sizes):
            kept.append(key)
            continue
        rows.update({digest: stored for digest, stored in index if stored.path not in gone})
        sizes.update(index.sizes)
    if rows:
        key, data = f"{INDEXES}{uuid4().hex}", index_of(rows, sizes)
        write_object(store.store, store.key(key), len(data), iter([data]))
        kept.append(key)
    return tuple(kept)


def _listed(store: VersionStore) -> dict[str, int]:
    """Return the objects of a store that versions name, or might."""
    found = {store.below(one.key): one.size for part in _PARTS for one in store.listed(part)}
    return {key: size for key, size in found.items() if not is_unfinished(key)}


def _named(store: VersionStore, without: Collection[int] = ()) -> set[str]:
    """Return the keys of all that versions name."""
    named: set[str] = set()
    store.require_whole()
    for record in store.records():
        if record.is_whole and record.number not in without:
            named |= {record.table, *store.table(record).objects}
    return named
