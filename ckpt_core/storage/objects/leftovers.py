"""Leftovers of writers in a store.

They are found by leases and journals, and removed under a lease.

Only what a lease or a journal of ours names is touched, once nobody holds it; only content that came while it was held,
or into a folder that has an id of ours in its name; and nothing that a seal vouches for.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, LockedError, OverwriteError, ReplacedError
from ckpt_core.schema.side_files.reserved_names import JOURNAL, is_under_way
from ckpt_core.schema.side_files.seals import PLACEHOLDER, generation_of, is_seal
from ckpt_core.storage.objects.lease import held, is_free
from ckpt_core.storage.objects.lease_record import LeaseRecord, parse_record
from ckpt_core.storage.objects.sites import Site, sites_of
from ckpt_core.storage.objects.store import ABSENT, ObjectStore, StoredObject
from ckpt_core.storage.objects.unnoted_uploads import unnoted_uploads

_SLACK = 60.0
"""Seconds by which the times of a store and of a lease may differ."""

_UNREAD = "whoever wrote its lease, which this version of ckpt does not read"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that a writer has left.

    Attributes:
        place: What was being written: a URL, or a path.
        kind: What is left of it, in a few words.
        age: Seconds since the last sign of its writer.
        size: Bytes, parts of uploads among them.
        count: Files or objects.
        uploads: Uploads that were begun and not completed.
        held: Who is at work there, in a few words; it is removed only where this is empty.
        remove: Remove it. LockedError where somebody is at work there by now.
    """

    place: str
    kind: str
    age: float
    size: int
    count: int
    uploads: int
    held: str
    remove: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Named:
    """The names in the leases and journals of a site.

    It knows when the objects of those names must have come.
    """

    keys: frozenset[str]
    replaced: frozenset[tuple[str, str]]
    folders: tuple[str, ...]
    uploads: frozenset[tuple[str, str]]
    since: float
    until: float
    protected: Callable[[str], bool]

    def has(self, one: StoredObject) -> bool:
        if self.protected(one.key):
            return False
        if one.key.startswith(self.folders) or (one.key, one.version) in self.replaced:
            return True
        return one.key in self.keys and self.since - _SLACK <= one.modified <= self.until + _SLACK


@dataclass(slots=True)
class _Said:
    """The content of a journal.

    The keys of its files, its uploads, what they replace, and when it first noted an upload.
    """

    files: set[str]
    uploads: set[tuple[str, str]]
    replaced: set[tuple[str, str]]
    begun: float | None


def leftovers(store: ObjectStore, key: str) -> Iterator[Leftover]:
    """Yield the leftovers at `key` and below it.

    `key` is a file or directory; "" is all of the bucket.

    Raises:
        NoAnswerError: The store gave no answer.
        CheckpointNotFoundError: There is no such bucket.
    """
    for site in sites_of(_listed(store, key)):
        left = _left(store, site)
        if left is not None:
            yield left


def _listed(store: ObjectStore, key: str) -> Iterator[StoredObject]:
    if key:
        folder, _, name = key.rpartition("/")
        yield from store.find(f"{folder}{'/' if folder else ''}.{name}.ckpt-")
    yield from store.find(f"{key}/" if key else "")


def _left(store: ObjectStore, site: Site) -> Leftover | None:
    records = [(one, record) for one in site.leases if (record := _record(store, one)) is not None]
    unread = len(records) < len(site.leases)
    named = _named(store, site, records)
    objects = [one for one in store.find(site.own) if named.has(one)]
    uploads = [part for key, id in sorted(named.uploads) for part in store.parts(key, id)]
    if not (objects or uploads or records):
        return None
    alive = {(one.key, one.id) for one in store.uploads(site.root)} if named.uploads else set()
    signs = [one.modified for one, _ in records] or [one.modified for one in objects]
    held = next((_holder(record) for one, record in records if not is_free(store, one, record)), "")
    held = held or (_UNREAD if unread else "")

    def remove() -> None:
        _remove(store, site, records, named)

    return Leftover(
        place=f"{store.url}/{site.key}",
        kind="unfinished write" if records else "not tidied up",
        age=max(store.now() - max(signs), 0.0),
        size=sum(one.size for one in objects) + sum(part.size for part in uploads),
        count=len(objects),
        uploads=len(named.uploads & alive),
        held=held,
        remove=remove,
    )


def _named(store: ObjectStore, site: Site, records: list[tuple[StoredObject, LeaseRecord]]) -> _Named:
    sealed, generation = _sealed(store, site)
    keys = {key for _, record in records for key in record.keys if not key.endswith("/")}
    folders = {key for _, record in records for key in record.keys if key.endswith("/")}
    uploads = {upload for _, record in records for upload in record.uploads}
    replaced: set[tuple[str, str]] = set()
    for folder, journal in site.journals.items():
        said = _journal(store, folder, journal)
        folders.add(folder + JOURNAL)
        ids, began = {id for _, id in said.uploads}, min(one.modified for one in journal)
        unnoted = unnoted_uploads(store, folder, said.files, ids, began=began, until=said.begun)
        uploads |= said.uploads | {(upload.key, upload.id) for upload in unnoted}
        if generation and folder == f"{site.root}{generation}/":  # before that it is what readers read
            replaced |= said.replaced
        if records or folder != site.root:  # without a lease a directory may be a checkpoint that nobody has sealed
            keys |= said.files
    folders |= {folder for folder in site.generations if generation and not folder.endswith(f"/{generation}/")}

    def protected(key: str) -> bool:
        below = key.removeprefix(site.root)
        if JOURNAL in below or site.name:
            return False
        if generation:
            return below.startswith(f"{generation}/") or key == site.seal
        return sealed and (key == site.seal or not is_under_way(below.partition("/")[0]))

    since = min([record.started for _, record in records], default=float("-inf"))
    until = max([one.modified + record.seconds for one, record in records], default=float("inf"))
    own = tuple(sorted(folder for folder in folders if _is_own(site, folder)))
    return _Named(frozenset(keys - {site.seal}), frozenset(replaced), own, frozenset(uploads), since, until, protected)


def _is_own(site: Site, folder: str) -> bool:
    """Return whether a folder is one of ours by its name.

    Of anything else only single keys are believed.
    """
    return folder.startswith(site.own) and is_under_way(folder.rstrip("/").rpartition("/")[2])


def _remove(store: ObjectStore, site: Site, records: list[tuple[StoredObject, LeaseRecord]], named: _Named) -> None:
    place = f"{store.url}/{site.key}"
    keys = [*sorted(named.keys), *named.folders]
    with held(store, site.lease, place=place, keys=keys) as lease:
        known = next((record.id for one, record in records if one.key == site.lease), None)
        if (lease.former and lease.former.id) != known:
            raise LockedError(f"{place}: another writer was there meanwhile; look again")
        named = _named(store, site, records)  # again: it may have been sealed since
        lease.note_uploads(sorted(named.uploads))
        fence = _fenced(store, site, named)
        for key, id in sorted(named.uploads):
            store.abort(key, id)
        lease.check()
        store.delete([one.key for one in store.find(site.own) if named.has(one) and one.key != site.lease])
        for one, _ in records:
            if one.key != site.lease:
                store.delete_version(one.key, one.version)
        if fence is not None:
            store.delete_version(fence.key, fence.version)


def _fenced(store: ObjectStore, site: Site, named: _Named) -> StoredObject | None:
    """Put the placeholder that fences off a late writer.

    It keeps that from sealing a directory whose data is being removed.
    """
    there = store.head(site.seal)
    if site.name or named.protected(site.seal):
        return None
    if there is not None:
        return there if store.read(site.seal) == PLACEHOLDER else None
    try:
        return store.put(site.seal, PLACEHOLDER, ABSENT)
    except ConditionFailedError:
        raise LockedError(f"{store.url}/{site.key}: another writer was there meanwhile; look again") from None


def _sealed(store: ObjectStore, site: Site) -> tuple[bool, str]:
    """Return whether a directory is sealed, and its generation."""
    try:
        text = b"" if site.name else store.read(site.seal)
    except CheckpointNotFoundError:
        text = b""
    return is_seal(text), generation_of(text)


def _journal(store: ObjectStore, folder: str, journal: list[StoredObject]) -> _Said:
    """Return the content of a journal's objects."""
    said = _Said(set(), set(), set(), None)
    for one in sorted(journal, key=lambda one: one.key):
        tree = _tree(store, one.key)
        if isinstance(tree, dict):
            said.files |= {folder + path for path in tree.get("files") or () if isinstance(path, str)}
            begun = tree.get("uploads") or {}
            said.uploads |= {(folder + path, str(id)) for path, (id, *_) in begun.items()}
            said.replaced |= {(key, str(version)) for key, version in (tree.get("replaces") or {}).items()}
            if begun and said.begun is None:
                said.begun = one.modified
    return said


def _tree(store: ObjectStore, key: str) -> Any:
    try:
        return json.loads(store.read(key))
    except (ValueError, CheckpointNotFoundError):
        return None


def _record(store: ObjectStore, one: StoredObject) -> LeaseRecord | None:
    """Return the content of a lease.

    None where it is gone by now, or is none that can be read.
    """
    try:
        return parse_record(store.read(one.key, version=one.version), one.key)
    except (OverwriteError, ReplacedError, CheckpointNotFoundError):
        return None


def _holder(record: LeaseRecord) -> str:
    return f"process {record.holder.pid} of {record.holder.host}"
