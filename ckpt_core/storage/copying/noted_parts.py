"""The notes of a copy in a store.

They say which parts are there, as what, and the digests of their blocks.

They are objects of the journal that a writer of plans keeps too, each `{"parts": [[path, number, tag, size, blocks]]}`.
"""

import json
from base64 import b64decode, b64encode
from threading import Lock
from typing import NamedTuple

from ckpt_core.schema.side_files.reserved_names import JOURNAL
from ckpt_core.storage.copying.work import PartKey
from ckpt_core.storage.objects.store import ABSENT, ObjectStore

NOTED_AFTER = 1 << 20
"""Bytes that are moved between two notes, each a small request: what a kill can make a rerun move again, but for what
was under way."""


class PutPart(NamedTuple):
    """A part that is in the store.

    It has its name there, its bytes, and the digests of its blocks.
    """

    tag: str
    size: int
    blocks: bytes


def noted_parts(store: ObjectStore, keys: tuple[str, ...]) -> dict[PartKey, PutPart]:
    """The parts that the objects of a journal tell of."""
    told = [json.loads(store.read(key)) for key in keys]
    lines = [line for one in told for line in one.get("parts", ())]
    return {(path, number): PutPart(tag, size, b64decode(blocks)) for path, number, tag, size, blocks in lines}


class PartNotes:
    """Notes that are being made. Any thread may add to them.

    Args:
        store: The store.
        folder: Where the journal lies; ends in a slash.
        number: Of its next object.
    """

    def __init__(self, store: ObjectStore, folder: str, number: int) -> None:
        self._store, self._folder, self._number = store, folder, number
        self._lines: list[list[str | int]] = []
        self._bytes = 0
        self._lock = Lock()

    def take_number(self) -> int:
        """Return the number of a journal's object that another writer is putting."""
        with self._lock:
            self._number += 1
            return self._number - 1

    def add(self, key: PartKey, part: PutPart) -> None:
        """Note a part that is in the store.

        It is noted there with the next ones, once they make a note worth a request.
        """
        with self._lock:
            self._lines.append([*key, part.tag, part.size, b64encode(part.blocks).decode()])
            self._bytes += part.size
            full = self._bytes >= NOTED_AFTER
        if full:
            self.flush()

    def flush(self) -> None:
        """Put what is not noted yet."""
        with self._lock:
            lines, self._lines, self._bytes = self._lines, [], 0
        if lines:
            key = f"{self._folder}{JOURNAL}{self.take_number():05}.json"
            self._store.put(key, json.dumps({"parts": lines}).encode(), ABSENT)
