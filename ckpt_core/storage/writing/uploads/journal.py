"""The journal of a run in a store.

A rerun goes on from another machine too.

Numbered objects, each put once and never changed, in the folder of the data. The first names the work and every object
that it may put, the second the uploads that were begun, the others tensors all of whose bytes are in the store. Nobody
may remove anything of a run but what they name.

    .ckpt-journal/00000.json   {"schema": "ckpt/journal@1", "work": …, "files": [path, …]}
    .ckpt-journal/00001.json   {"uploads": {path: [id, bytes of a part]}}
    .ckpt-journal/00002.json   {"tensors": [[component, name, source, target, crcs], …]}
    .ckpt-journal/00003.json   {"replaces": {key: version}}, of the bucket: what goes once the seal names this folder
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from ckpt_core.errors import CheckpointNotFoundError
from ckpt_core.schema.plans import TensorKey, Written
from ckpt_core.schema.side_files.reserved_names import BLOCKS, JOURNAL
from ckpt_core.storage.objects.store import ABSENT, ObjectStore, StoredObject
from ckpt_core.storage.objects.unnoted_uploads import unnoted_uploads
from ckpt_core.storage.writing.jobs import as_lines, of_lines

SCHEMA = "ckpt/journal@1"

_NOTED_AFTER = 64 << 20
"""Bytes of tensors between two notes: what a kill can make a rerun read again, besides tensors that were under way."""


@dataclass(frozen=True, slots=True)
class Noted:
    """The content of a folder's journal.

    Attributes:
        work: The digest of plan and source; empty where they cannot be told again.
        files: Paths below the folder that the run may put.
        uploads: The upload of each path that has one, and the bytes of its parts.
        tensors: What was seen of the finished tensors.
        keys: The journal's own objects.
        began: When it was begun, by the store's clock.
        begun: When it first noted uploads; None where it has none.
    """

    work: str
    files: tuple[str, ...]
    uploads: Mapping[str, tuple[str, int]]
    tensors: Mapping[TensorKey, Written]
    keys: tuple[str, ...]
    began: float
    begun: float | None = None

    @property
    def next_number(self) -> int:
        """Of the object that follows."""
        return _number_of(self.keys[-1]) + 1


def read_journal(store: ObjectStore, folder: str) -> Noted | None:
    """Return the journal in a folder, whose key ends in a slash.

    None where there is none that can be read.
    """
    found = sorted(store.find(folder + JOURNAL), key=lambda one: one.key)
    if not found:
        return None
    try:
        first, *more = [json.loads(store.read(one.key)) for one in found]
        if first["schema"] != SCHEMA:
            return None
        uploads = {path: (str(id), int(size)) for one in more for path, (id, size) in one.get("uploads", {}).items()}
        tensors = {key: seen for one in more for key, seen in of_lines(one.get("tensors", ())).items()}
        files = tuple(map(str, first["files"]))
        begun = next((at.modified for one, at in zip(more, found[1:], strict=True) if one.get("uploads")), None)
        keys = tuple(one.key for one in found)
        return Noted(str(first["work"]), files, uploads, tensors, keys, found[0].modified, begun)
    except (ValueError, KeyError, TypeError, CheckpointNotFoundError):
        return None


def begin_journal(store: ObjectStore, folder: str, work: str, files: Sequence[str]) -> Noted:
    """Name the work and what it may put, before it puts anything."""
    named = (*files, BLOCKS)
    put = _put(store, folder, 0, {"schema": SCHEMA, "work": work, "files": named})
    return Noted(work, named, {}, {}, (put.key,), put.modified)


def note_begun_by(folder: str, files: Sequence[str], *, number: int, began: float) -> Noted:
    """Return what a rank knows of a journal that another began.

    It notes its uploads in the object of this number, and answers for its own files alone.
    """
    return Noted("", tuple(files), {}, {}, (f"{folder}{JOURNAL}{number - 1:05}.json",), began)


def note_uploads(store: ObjectStore, folder: str, number: int, uploads: Mapping[str, tuple[str, int]]) -> float:
    """Name uploads that were begun; when, by the store's clock."""
    return _put(store, folder, number, {"uploads": {path: list(one) for path, one in uploads.items()}}).modified


def note_replaced(store: ObjectStore, folder: str, replaced: Mapping[str, str]) -> None:
    """Note which objects the new seal replaces.

    They are noted by key and version, and removed once the seal names what is in the folder.
    """
    last = max(one.key for one in store.find(folder + JOURNAL))
    _put(store, folder, _number_of(last) + 1, {"replaces": dict(replaced)})


def forget(store: ObjectStore, folder: str, noted: Noted) -> None:
    """Remove all that a run has put into a folder.

    What its journal names is removed, the journal last.
    """
    noted = read_journal(store, folder) or noted
    for path, (id, _) in noted.uploads.items():
        store.abort(folder + path, id)
    abort_unnoted(store, folder, noted)
    store.delete(sorted(folder + path for path in noted.files))
    store.delete(noted.keys)


def abort_unnoted(store: ObjectStore, folder: str, noted: Noted) -> None:
    """Abort uploads that no journal notes.

    Their begin was answered to nobody, or their writer was killed before it noted them.
    """
    keys, known = {folder + path for path in noted.files}, {id for id, _ in noted.uploads.values()}
    for upload in unnoted_uploads(store, folder, keys, known, began=noted.began, until=noted.begun):
        store.abort(upload.key, upload.id)


@dataclass(slots=True)
class StoreJournal:
    """The journal of one rank's run. Any thread may add to it.

    Attributes:
        store: The store.
        folder: Where its objects lie; ends in a slash.
        number: Of its next object; ranks keep out of each other's way by `step`.
    """

    store: ObjectStore
    folder: str
    number: int
    step: int = 1
    _lines: dict[TensorKey, Written] = field(default_factory=dict)
    _bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def add(self, key: TensorKey, written: Written, length: int) -> None:
        """A tensor of `length` bytes is in the store."""
        with self._lock:
            self._lines[key] = written
            self._bytes += length
            full = self._bytes >= _NOTED_AFTER
        if full:
            self.flush()

    def flush(self) -> None:
        """Put what is pending."""
        with self._lock:
            lines, self._lines, self._bytes = self._lines, {}, 0
            number, self.number = self.number, self.number + (self.step if lines else 0)
        if lines:
            _put(self.store, self.folder, number, {"tensors": as_lines(lines)})


def _number_of(key: str) -> int:
    return int(key.rpartition("/")[2].partition(".")[0])


def _put(store: ObjectStore, folder: str, number: int, said: Mapping[str, Any]) -> StoredObject:
    return store.put(f"{folder}{JOURNAL}{number:05}.json", json.dumps(said).encode(), ABSENT)
