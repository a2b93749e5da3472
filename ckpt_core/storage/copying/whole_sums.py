"""Hashes of whole files, as their place records them.

They are computed while parts move in nearly any order.

A hash takes bytes in order, and several movers read a file at once. A part waits for its turn where the part before it
is under way; where that is not to come again, as when an earlier run moved it, the rest is read once more at the end.
"""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from threading import Condition
from typing import Any

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.text import printable
from ckpt_core.storage.buffers import borrowed
from ckpt_core.storage.workers import check_stop

_SLAB = 1 << 20
_LOOK = 0.1
"""Seconds between two looks at whether anybody still waits."""


class WholeSums:
    """The hashes that a listing has of some of its files.

    Any thread may call it.

    Args:
        files: The listing.
        paths: The files that are read.

    Attributes:
        waits: Whether bytes wait for those before them: where each is read, in order, by some thread.
    """

    def __init__(self, files: Files, paths: tuple[str, ...]) -> None:
        told = {path: files.whole_sum(path) for path in paths}
        self._expected = {path: said for path, said in told.items() if said and _new(said) is not None}
        self._running: dict[str, Any] = {path: _new(said) for path, said in self._expected.items()}
        self._sizes = {path: files.size(path) for path in self._expected}
        self._at = dict.fromkeys(self._expected, 0)
        self._waiting = Condition()
        self.waits = True

    @property
    def algorithms(self) -> tuple[str, ...]:
        return tuple(sorted({said.partition(":")[0] for said in self._expected.values()}))

    def see(self, path: str, offset: int, data: memoryview) -> None:
        """Take bytes of a file.

        Out of turn they are passed over, or wait for those before them.
        """
        if path not in self._expected:
            return
        with self._waiting:
            while self.waits and self._at[path] < offset:
                check_stop()
                self._waiting.wait(_LOOK)
            if self._at[path] != offset:
                return
        self._running[path].update(data)  # by one thread: the turn is its own until the next line
        with self._waiting:
            self._at[path] += len(data)
            self._waiting.notify_all()

    def knows(self, path: str) -> bool:
        """Return whether the place records a known hash of a file."""
        return path in self._expected

    def prove(self, path: str, read: Callable[[str, int, memoryview], None]) -> bool:
        """Return whether a whole file is what its place records.

        `read` gives its bytes. Where it is, no more of it is to be seen; else it is as if it had not been read.
        """
        algorithm, _, expected = self._expected[path].partition(":")
        running = _new(algorithm)
        self._hash(running, path, 0, read)
        if b64encode(running.digest()).decode() != expected:
            return False
        self._running[path], self._at[path] = running, self._sizes[path]
        return True

    def finish(self, read: Callable[[str, int, memoryview], None]) -> None:
        """Compare all of them.

        `read` fills memory with what was not seen in order.

        Raises:
            CorruptError: CP003, a file is not what its place says of it.
        """
        for path, said in self._expected.items():
            running = self._running[path]
            self._hash(running, path, self._at[path], read)
            algorithm, _, expected = said.partition(":")
            found = b64encode(running.digest()).decode()
            if found != expected:
                raise CorruptError(
                    f"{printable(path)}: its {algorithm} is {found}, and its place records {expected}; "
                    "nothing was committed",
                    code="CP003",
                    path=path,
                    hint="run it again; where it comes back, what is stored is not what was put there: take another",
                )

    def _hash(self, running: Any, path: str, start: int, read: Callable[[str, int, memoryview], None]) -> None:
        """Hash a file from some byte to its end."""
        size = self._sizes[path]
        with borrowed(min(_SLAB, max(size, 1))) as buffer:
            for at in range(start, size, _SLAB):
                part = buffer[: min(_SLAB, size - at)]
                read(path, at, part)
                running.update(part)


def _new(said: str) -> Any:
    """Return a new hash of the algorithm that is named.

    None where it is not known.
    """
    algorithm = said.partition(":")[0]
    if algorithm == "xxh128":
        import xxhash

        return xxhash.xxh3_128()
    return hashlib.new(algorithm, usedforsecurity=False) if algorithm in ("md5", "sha256") else None
