"""A plan whose tensors lie in memory, carried out.

Chunks of all files are shared out among workers.

Each worker copies a chunk into memory of its own, digests it there for the tensors and for the file, and writes that
copy: what is digested is what is written, also where somebody changes a tensor meanwhile. Large files are written past
the page cache, which would copy everything once more, into pages that have to be found first.
Memory: one chunk a worker, and of those there are two at least.
"""

import ctypes
import mmap
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ckpt_core.schema.access import Checkpoint, Progress
from ckpt_core.schema.plans import Literal, TensorBytes, TensorKey, WritePlan, Written
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.storage.digests import seal_of
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.workers import check_stop, run, stretches
from ckpt_core.storage.writing.from_memory.spans import FileInMemory

_CHUNK = 4 << 20
"""Bytes that are written at once: long enough for the disk, and short enough for the processor's cache."""

_IN_FLIGHT = 2
"""Workers at least, also where a rank has one processor: the disk has one's chunk while the other's is made."""

_LARGE = 2 * _CHUNK
"""Bytes from which on a file is written past the page cache: a shorter one is there sooner with it."""


class FilesOut(Protocol):
    """The files of a plan, written from aligned memory.

    `LocalFiles` are such.
    """

    def opened(self, ranks: Ranks) -> AbstractContextManager[None]: ...

    def open_directly(self, path: str) -> None: ...

    def write_past_cache(self, path: str, data: memoryview, offset: int) -> None: ...

    def sync(self) -> None: ...


class WrittenFiles(NamedTuple):
    """The digests of written tensors and files of a plan."""

    tensors: dict[TensorKey, Written]
    files: dict[str, FileSeal]


class _Chunk(NamedTuple):
    file: FileInMemory
    begin: int
    end: int


def fits(plan: WritePlan) -> bool:
    """Return whether a plan is one of whole tensors.

    It has nothing else but known bytes, and asks for no checksums: every byte is read once.
    """
    return all(
        not file.checksums
        and all(
            isinstance(section, Literal) or (isinstance(section, TensorBytes) and section.box is None)
            for section in file.sections
        )
        for file in plan.files
    )


def write_files(
    plan: WritePlan,
    checkpoint: Checkpoint,
    addresses: Mapping[TensorKey, int],
    out: FilesOut,
    *,
    progress: Progress | None = None,
    check: Callable[[], None] = ALONE.check,
    wanted: Container[TensorKey] | None = None,
) -> WrittenFiles:
    """Write every file of a plan of whole tensors.

    All of them are made to last. The checksums that a file keeps of its tensors are read from them a second time.

    Args:
        plan: The files.
        checkpoint: What it is a plan of.
        addresses: Where its tensors lie.
        out: The files, on a disk or on their way into a store.
        progress: Told of the bytes that are written.
        check: Called before each chunk; raises what ends the work.
        wanted: The tensors whose digests are; None for all.

    Raises:
        BudgetError: The disk is full.
        CkptError: A write failed; nothing is named yet.
    """
    files = [FileInMemory(file, checkpoint, addresses, wanted) for file in plan.files]
    chunks = [chunk for file in files for chunk in _chunks(file)]
    if progress is not None:
        progress.begin(plan.size)
    with out.opened(ALONE):
        for file in files:
            if file.size >= _LARGE:
                out.open_directly(file.path)
        run(
            lambda share: _write(share, out, progress, check),
            stretches(chunks, [end - begin for _, begin, end in chunks], least=_IN_FLIGHT),
        )
        out.sync()
    for file in files:
        file.finish()
    seen = {key: Written(digest, digest) for file in files for key, digest in file.tensors.items()}
    return WrittenFiles(seen, {file.path: seal_of(file.size, bytes(file.blocks)) for file in files})


def _chunks(file: FileInMemory) -> list[_Chunk]:
    return [_Chunk(file, at, min(at + _CHUNK, file.size)) for at in range(0, file.size, _CHUNK)]


def _write(chunks: Sequence[_Chunk], out: FilesOut, progress: Progress | None, check: Callable[[], None]) -> None:
    """Write the chunks of one worker, all through the same memory."""
    region = mmap.mmap(-1, max(chunk.end - chunk.begin for chunk in chunks))  # begins with a page, as sectors must
    whole = memoryview(region)
    address = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    for file, begin, end in chunks:
        check_stop()
        check()
        data = whole[: end - begin]
        file.fill(begin, end, data, address)
        out.write_past_cache(file.path, data, begin)
        if progress is not None:
            progress.advance(len(data))
