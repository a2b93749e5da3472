"""Small tensors that lie end to end in a file, written together.

A call each would cost more than their bytes.
"""

from collections.abc import Callable

from ckpt_core import knobs
from ckpt_core.schema.plans import Written
from ckpt_core.storage.writing.jobs import Job

Write = Callable[[str, bytes, int], None]
"""Writes bytes to an offset of a file."""

Told = Callable[[Job, Written], None]
"""Is told of a tensor whose bytes are written."""


class Neighbours:
    """The bytes that one worker has gathered.

    Less than a slab, which is also what a kill can make a rerun read again.

    Args:
        put: Writes what was gathered: path, bytes, offset.
        told: Told of each tensor once its bytes are written, not before: a journal must not be ahead of them.
    """

    def __init__(self, put: Write, told: Told) -> None:
        self._put = put
        self._told = told
        self._limit = knobs.slab_bytes()
        self._data = bytearray()
        self._jobs: list[tuple[Job, Written]] = []
        self._path = ""
        self._end = 0

    def add(self, job: Job, data: bytes, written: Written) -> None:
        """Take the bytes of a tensor that has one place.

        What does not lie before it is written first.
        """
        place = job.places[0]
        if place.path != self._path or place.offset != self._end:
            self.write()
            self._path, self._end = place.path, place.offset
        self._data += data
        self._end += len(data)
        self._jobs.append((job, written))
        if len(self._data) >= self._limit:
            self.write()

    def write(self) -> None:
        """Write what was gathered."""
        if self._data:
            self._put(self._path, bytes(self._data), self._end - len(self._data))
        for job, written in self._jobs:
            self._told(job, written)
        self._data.clear()
        self._jobs.clear()
