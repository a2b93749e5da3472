"""Removes what stopped publishers and prunings left besides objects."""

from ckpt_core import knobs
from ckpt_core.storage.objects.store import StoredObject
from ckpt_core.storage.versions.directory_store import is_trial, is_unfinished
from ckpt_core.storage.versions.names import INDEXES, OBJECTS, PRUNINGS, TABLES
from ckpt_core.storage.versions.prunings import prunings_of
from ckpt_core.storage.versions.publishers import is_at_work, publication_of, publisher_leases, publishers_at_work
from ckpt_core.storage.versions.version_store import Head, VersionStore


def sweep(store: VersionStore, head: Head) -> None:
    """Remove what is left of publishers that are not at work.

    Their leases, uploads, and files that are not whole; and lists that no record remembers.
    """
    for one in publisher_leases(store):
        if not is_at_work(store, one):
            store.store.delete_version(one.key, one.version)
    parts = (OBJECTS, TABLES, INDEXES)
    uploads = [one for part in parts for one in store.store.uploads(store.key(part))]
    files = [*store.listed("")]
    at_work = publishers_at_work(store)  # after what was listed: whoever began that and is not among them has ended
    for upload in uploads:
        if publication_of(store.below(upload.key)) not in at_work:
            store.store.abort(upload.key, upload.id)
    now, remembered = store.store.now(), prunings_of(head)
    left = [one for one in files if _is_left(store.below(one.key), remembered, at_work)]
    store.store.delete(one.key for one in left if _is_old(one, now))


def _is_left(key: str, remembered: tuple[str, ...], at_work: set[str]) -> bool:
    """Return True for a file that nobody needs, once it is old."""
    if is_unfinished(key):
        return publication_of(key) not in at_work
    return is_trial(key) or (key.startswith(PRUNINGS) and key not in remembered)


def _is_old(one: StoredObject, now: float) -> bool:
    return now - one.modified > knobs.lease_seconds()
