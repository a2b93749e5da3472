"""Publishers that are at work at a store, by their leases."""

import re
from collections.abc import Callable

from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, LockedError, OverwriteError
from ckpt_core.log import Logger
from ckpt_core.schema.text import printable
from ckpt_core.storage.objects.lease import is_free
from ckpt_core.storage.objects.lease_record import LeaseRecord
from ckpt_core.storage.objects.lease_record import parse_record as parse_lease
from ckpt_core.storage.objects.store import StoredObject
from ckpt_core.storage.versions.directory_store import is_unfinished
from ckpt_core.storage.versions.names import LEASES
from ckpt_core.storage.versions.version_store import VersionStore

_log = Logger(__name__)

PRUNING_LEASE = f"{LEASES}pruning.json"
_LOOK = 0.2
"""Seconds between two looks at the leases of publishers."""


def publishers_at_work(store: VersionStore) -> set[str]:
    """Return the publications whose leases are held."""
    return {publication_of(store.below(one.key)) for one in publisher_leases(store) if is_at_work(store, one)}


def publisher_leases(store: VersionStore) -> list[StoredObject]:
    """Return the leases of publishers."""
    found = [one for one in store.listed(LEASES) if one.key.endswith(".json") and not is_unfinished(one.key)]
    return [one for one in found if one.key != store.key(PRUNING_LEASE)]


def is_at_work(store: VersionStore, one: StoredObject) -> bool:
    try:
        return not is_free(store.store, one, _lease(store, one))
    except CheckpointNotFoundError:
        return False
    except OverwriteError:
        return True  # of a newer ckpt: not ours to judge


def publication_of(key: str) -> str:
    """Return the publication of a key: `objects/ID/…`, `tables/ID`, `indexes/ID-…`, `leases/ID.json`.

    Also of what is not whole yet: `tables/.ID.ckpt-put-…`.
    """
    return re.split(r"[/.-]+", key)[1]


def wait_out(store: VersionStore, wait: Callable[[float], None]) -> None:
    """Wait until every publisher of now has ended.

    Or is gone, or silent for its seconds.

    Raises:
        LockedError: It cannot be told who holds one, which was not renewed for the seconds of a lease.
    """
    pending = {one.key for one in publisher_leases(store)}
    while pending:
        now = {one.key: one for one in publisher_leases(store)}
        pending = {key for key in pending if key in now and is_at_work(store, now[key])}
        for key in pending:
            _refuse_silent(store, now[key])
        if pending:
            _log.info("%s: waits for %d publishers", store, len(pending))
            wait(_LOOK)


def _refuse_silent(store: VersionStore, one: StoredObject) -> None:
    try:
        _lease(store, one)
    except CheckpointNotFoundError:
        return
    except OverwriteError as error:
        if store.store.now() - one.modified > knobs.lease_seconds():
            raise LockedError(
                f"{store}: {printable(store.below(one.key))} is no lease that this ckpt reads, and was not renewed for "
                f"{knobs.lease_seconds()} s, so that nobody can tell whether its publisher is at work; nothing was "
                "deleted; prune with a newer ckpt, or remove it if nobody publishes there, and prune again"
            ) from error


def _lease(store: VersionStore, one: StoredObject) -> LeaseRecord:
    return parse_lease(store.store.read(one.key), one.key)
