"""A lease: a store's stand-in for a lock.

An object has a condition and a time, and no process that holds it.

It is renewed by a thread as long as its block runs. Who was not heard of for its seconds, by the store's clock, or is
a process of this machine that is gone, is taken over from. So a holder that was paused may find itself taken over:
`check` says so, and a commit that comes too late is kept off by the condition of its seal, not by this.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ckpt_core import knobs
from ckpt_core.errors import (
    CheckpointNotFoundError,
    CkptError,
    ConditionFailedError,
    LockedError,
    NoAnswerError,
    ReplacedError,
    UnsupportedFormatError,
)
from ckpt_core.log import Logger
from ckpt_core.schema.text import printable
from ckpt_core.storage.objects.lease_record import LeaseRecord, new_record, parse_record
from ckpt_core.storage.objects.store import ABSENT, Condition, ObjectStore, StoredObject

_log = Logger(__name__)

_ROUNDS = 5
"""How often a lease that comes and goes while it is looked at is tried for."""

_TRIED = b'{"schema": "ckpt/tried@1"}'
"""What a store must refuse to put in place of a lease."""

_kept: set[str] = set()
"""Buckets, by their URLs, that were seen to keep to conditions."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""One that goes on while the machine sleeps: others do not wait for it."""


class Lease:
    """A lease that is held. Any thread may call any method.

    Attributes:
        former: What the holder before us said, whose work can go on; None where there was none.
        leaves: Whether its block leaves work to go on from where it fails: the lease stays then, and says it has ended.
    """

    def __init__(
        self, store: ObjectStore, there: StoredObject, record: LeaseRecord, former: LeaseRecord | None, place: str
    ) -> None:
        self.former = former
        self.leaves = former is not None
        self._store = store
        self._version = there.version
        self._key = there.key
        self._record = record
        self._place = place
        self._lost = False
        self._heard = time.clock_gettime(_CLOCK)
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_ended, daemon=True, name="ckpt-lease")

    @property
    def id(self) -> str:
        """Unique to this holding of it."""
        return self._record.id

    def check(self) -> None:
        """Make sure that it is still held.

        Costs nothing unless the last renewal is late.

        Raises:
            LockedError: Another writer has taken over, or it could not be renewed for its seconds.
        """
        if not self._lost and self._overdue():
            self._renew()
        if self._lost:
            raise LockedError(
                f"{printable(self._place)}: the lease was lost, since it could not be renewed for "
                f"{self._record.seconds} s; nothing more is written there; run it again"
            )

    def note_uploads(self, uploads: Iterable[tuple[str, str]]) -> None:
        """Note in the lease which uploads were begun.

        Each is a key and an id, noted before its first part is sent.

        Raises:
            LockedError: The lease is lost.
            NoAnswerError: The store gave no answer.
        """
        with self._lock:
            self._put(replace(self._record, uploads=tuple(uploads)))
        self.check()

    def note_keys(self, keys: Sequence[str]) -> None:
        """Note in the lease which objects are made.

        It is noted before the first of them is made. Raises as `note_uploads`.
        """
        with self._lock:
            self._put(replace(self._record, keys=tuple(keys)))
        self.check()

    def require_conditions(self) -> None:
        """Make sure, once for a bucket, that the store keeps to conditions.

        The lease itself, which is ours, is the trial.

        Raises:
            UnsupportedFormatError: It does not: two writers could not be told apart.
        """
        if self._store.url in _kept:
            return
        stale = self._version
        self._renew()
        self.check()
        for condition in (ABSENT, Condition(version=stale)):
            try:
                self._store.put(self._key, _TRIED, condition)
            except ConditionFailedError:
                continue
            self._store.delete([self._key])
            raise UnsupportedFormatError(
                f"{printable(self._place)}: this store ignores the conditions of a put (If-None-Match, If-Match), so "
                "that two writers would overwrite each other; nothing was written; write to a disk, and copy it there"
            )
        _kept.add(self._store.url)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the renewals; the lease itself stays as it is."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def remove(self) -> None:
        """Remove the lease, if it is still ours.

        Where the store does not, let it say that its holder has ended.
        """
        try:
            if self._store.delete_version(self._key, self._version):
                return
        except NoAnswerError as error:
            _log.info("%s: its lease was not removed (%s)", self._place, type(error).__name__)
        if self._store.head(self._key) is not None:
            self.give_up()

    def give_up(self) -> None:
        """Mark the lease as ended, if it is still ours.

        The next writer need not wait then.
        """
        with self._lock:
            self._put(replace(self._record, ended=True))

    def _renew_until_ended(self) -> None:
        while not self._end.wait(self._record.seconds / 3) and not self._lost:
            try:
                self._renew()
            except CkptError as error:
                _log.info("%s: the lease was not renewed (%s), tried again", self._place, type(error).__name__)

    def _renew(self) -> None:
        with self._lock:
            if not self._lost:
                self._put(self._record)

    def _put(self, record: LeaseRecord) -> None:
        """Put the lease in place of our last one.

        It counts as renewed from when it was sent, not from the answer.
        """
        sent = time.clock_gettime(_CLOCK)
        record = replace(record, renewals=record.renewals + 1)
        try:
            self._version = self._put_in_place(record)
        except (ConditionFailedError, ReplacedError, CheckpointNotFoundError):
            self._lost = True
            return
        self._record = record
        self._heard = sent

    def _put_in_place(self, record: LeaseRecord) -> str:
        """Return the version of the lease that replaced ours.

        A put of ours that had no answer counts.
        """
        condition = Condition(version=self._version)
        try:
            return self._store.put(self._key, record.encoded(), condition).version
        except ConditionFailedError:
            there = self._store.head(self._key)
            if there is None or _read(self._store, there).id != self.id:
                raise
            return self._store.put(self._key, record.encoded(), Condition(version=there.version)).version

    def _overdue(self) -> bool:
        return time.clock_gettime(_CLOCK) - self._heard > self._record.seconds


@contextmanager
def held(
    store: ObjectStore, key: str, *, place: str, work: str = "", keys: Sequence[str] = (), seconds: int = 0
) -> Iterator[Lease]:
    """Hold the lease `key` for a block.

    Where that ends well it is removed; where it fails, as `Lease.leaves` says.

    Args:
        store: Where it is.
        key: Of the lease.
        place: What is written, for messages.
        work: Digest of it.
        keys: As `LeaseRecord.keys`.
        seconds: Without renewal until it may be taken over; `knobs.lease_seconds()` where 0.

    Raises:
        LockedError: Somebody else holds it.
        OverwriteError: Something else has its name.
        UnsupportedFormatError: The store keeps to no conditions.
    """
    lease = _acquire(store, key, place, new_record(store.now(), seconds or knobs.lease_seconds(), work, tuple(keys)))
    try:
        lease.require_conditions()
        lease.begin()
        yield lease
    except BaseException:
        lease.stop()
        _end(lease.give_up if lease.leaves else lease.remove, place)
        raise
    lease.stop()
    _end(lease.remove, place)


def is_free(store: ObjectStore, there: StoredObject, record: LeaseRecord) -> bool:
    """Return whether a lease may be taken over.

    What it names may be removed then: its holder has ended, is gone or silent.
    """
    return record.ended or record.holder.is_gone or _silence(store, there) > record.seconds


def _read(store: ObjectStore, there: StoredObject) -> LeaseRecord:
    return parse_record(store.read(there.key, version=there.version), f"{store.url}/{there.key}")


def _silence(store: ObjectStore, there: StoredObject) -> float:
    """Seconds since a lease was renewed, by the store's clock."""
    return store.now() - there.modified


def _end(end: Callable[[], None], place: str) -> None:
    try:
        end()
    except CkptError as error:
        _log.warning("%s: its lease is left behind (%s)", place, type(error).__name__)


def _acquire(store: ObjectStore, key: str, place: str, record: LeaseRecord) -> Lease:
    for _ in range(_ROUNDS):
        former, condition = None, ABSENT
        there = store.head(key)
        try:
            if there is not None:
                former = _read(store, there)
                if not is_free(store, there, former):
                    raise _locked(store, there, former, place)
                condition = Condition(version=there.version)
                record = replace(record, started=min(record.started, former.started))
            return Lease(store, store.put(key, record.encoded(), condition), record, former, place)
        except (ReplacedError, CheckpointNotFoundError, ConditionFailedError) as error:
            if isinstance(error, CheckpointNotFoundError) and there is None:
                raise  # the bucket is not there
    raise LockedError(f"{printable(place)}: others are writing there too; try again")


def _locked(store: ObjectStore, there: StoredObject, record: LeaseRecord, place: str) -> LockedError:
    holder, silence = record.holder, max(_silence(store, there), 0)
    if holder.is_local:
        return LockedError(f"{printable(place)}: process {holder.pid} is writing there; try again when it is done")
    left = max(record.seconds - silence, 0)
    return LockedError(
        f"{printable(place)}: process {holder.pid} of {printable(holder.host, 80)} is writing there, last heard of "
        f"{silence:.0f} s ago; try again when it is done, or in {left:.0f} s if it is gone"
    )
