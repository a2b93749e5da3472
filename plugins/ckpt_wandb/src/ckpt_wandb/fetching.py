"""One file of an artifact into a stage: read where an interrupted run stopped, hashed as it comes, named when right.

The next bytes are read while those before are hashed and written, so that neither waits for the other.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import BinaryIO

from ckpt_core import CorruptError, Files, ReplacedError, list_files, printable
from ckpt_wandb.artifacts import Entry, PinnedArtifact
from ckpt_wandb.choosing import UNFINISHED
from ckpt_wandb.digests import Digest
from ckpt_wandb.filesystem import followed

_SLAB = 2 << 20
"""Bytes read at once: two of them are held for each file under way."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file that is there now.

    Attributes:
        received: Bytes that this run read.
        kept: Bytes that an earlier run had read.
        unverifiable: Why its bytes could not be compared with a hash; "" where they were.
    """

    received: int
    kept: int
    unverifiable: str = ""


class Source:
    """Where the bytes of an entry come from.

    Raises:
        UnsafeContentError: It is a reference to where none is followed.
        ReplacedError: It is a reference, and another content is there than was logged.
    """

    def __init__(self, artifact: PinnedArtifact, entry: Entry) -> None:
        self.place = f"{artifact.ref}/{entry.path}"
        self.shown = f"{artifact.ref}/{printable(entry.path)}"
        self.entry = entry
        self._files: Files = list_files(self.place if entry.reference is None else followed(self.shown, entry))
        (self._name,) = self._files.entries
        self.size = self._files.size(self._name)
        if entry.is_marked and entry.digest.strip('"') not in self._files.version(self._name):
            raise ReplacedError(f"{self.shown}: what it refers to was replaced since it was logged; log it again")

    def read_into(self, offset: int, out: memoryview) -> None:
        self._files.read_into(self._name, offset, out)

    @property
    def unverifiable(self) -> str:
        """Why no hash of its bytes is known; "" where one is."""
        if self.entry.reference is None:
            return ""
        if self.entry.is_marked:
            return "a reference: its store said the same of it as when it was logged, and its bytes have no hash"
        return "a reference that was logged without a checksum"


def fetch(source: Source, path: Path, *, stop: Event, progress: Callable[[int], None]) -> Fetched:
    """Bring a file to a path, unless an earlier run did.

    Args:
        source: Where it comes from.
        path: Where it will be; the folder is made.
        stop: Set where nobody waits for it any more.
        progress: Told of bytes that came.

    Raises:
        CorruptError: Its bytes are not those of the manifest, twice.
        NoAnswerError, ReplacedError: As a read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if matches(path, source.entry, source.size):
            return Fetched(0, source.size, source.unverifiable)
        path.unlink()
    part = path.with_name(f"{path.name}{UNFINISHED}")
    for last in (False, True):
        kept = _usable(part, source.size)
        received, digest = _append(source, part, kept, stop, progress)
        if not source.entry.is_checked or digest == source.entry.digest:
            os.rename(part, path)
            return Fetched(received, kept, source.unverifiable)
        part.unlink()
        if last:
            raise CorruptError(
                f"{source.shown}: what W&B holds is not what was logged (its {source.entry.algorithm} is {digest}, the "
                f"manifest says {source.entry.digest}); take another version, or log it again",
                code="WB001",
                path=source.entry.path,
            )
    raise AssertionError("unreachable")


def matches(path: Path, entry: Entry, size: int | None) -> bool:
    """Whether a file on disk has the size, and where one is known the hash, that the manifest says."""
    if not path.is_file() or path.is_symlink() or (size is not None and path.stat().st_size != size):
        return False
    if not entry.is_checked:
        return size is not None
    digest = Digest(entry.algorithm)
    with path.open("rb") as file:
        for data in _slabs(file):
            digest.see(data)
    return digest.text() == entry.digest


def _usable(part: Path, size: int) -> int:
    """How many bytes of an interrupted file there are; none of one that is too long."""
    have = part.stat().st_size if part.exists() else 0
    return have if have <= size else 0


def _append(source: Source, part: Path, kept: int, stop: Event, progress: Callable[[int], None]) -> tuple[int, str]:
    """Read what is missing of a file; how many bytes that were, and the hash of all of it."""
    digest = Digest(source.entry.algorithm if source.entry.is_checked else "md5")
    with part.open("r+b" if kept else "wb") as file, ThreadPoolExecutor(1) as beside:
        if kept:
            for data in _slabs(file):
                digest.see(data)

        def consume(data: memoryview) -> None:
            digest.see(data)
            file.write(data)
            progress(len(data))

        before: Future[None] | None = None
        for data in _arriving(source, kept, stop):
            if before is not None:
                before.result()
            before = beside.submit(consume, data)
        if before is not None:
            before.result()
        file.flush()
        os.fsync(file.fileno())
    return source.size - kept, digest.text()


def _arriving(source: Source, start: int, stop: Event) -> Iterator[memoryview]:
    """The bytes from an offset on, in two buffers by turns: one may be used while the other is filled."""
    buffers = memoryview(bytearray(_SLAB)), memoryview(bytearray(_SLAB))
    for number, at in enumerate(range(start, source.size, _SLAB)):
        if stop.is_set():
            raise InterruptedError("another file of the same download failed")
        data = buffers[number % 2][: min(_SLAB, source.size - at)]
        source.read_into(at, data)
        yield data


def _slabs(file: BinaryIO) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_SLAB))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        yield buffer[:count]
