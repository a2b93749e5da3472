"""Files copied byte for byte, with the digest of every block: a copy shares no storage with what it was made of."""

import os
from typing import TYPE_CHECKING

from ckpt_core.schema.access import Files
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.storage.digests import BLOCK, block_digest, seal_of
from ckpt_core.storage.writing import syscalls

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress


def copy_files(files: Files, folder: str, *, progress: "Progress | None" = None) -> dict[str, FileSeal]:
    """Write every file of a listing below an empty folder, synced; the digests of each, by path.

    Raises:
        CorruptError: A file ends before it should.
        BudgetError: The disk is full.
    """
    total = sum(entry.size for entry in files.entries.values())
    if progress is not None:
        progress.begin(total)
    syscalls.require_space(folder, total)
    return {path: _copy_file(files, path, folder, progress) for path in files.entries}


def digests_of(files: Files, path: str) -> FileSeal:
    """The digests of a file, read whole."""
    size = files.size(path)
    blocks = [block_digest(files.read(path, at, min(BLOCK, size - at))) for at in range(0, size, BLOCK)]
    return seal_of(size, b"".join(blocks))


def _copy_file(files: Files, path: str, folder: str, progress: "Progress | None") -> FileSeal:
    target, size = os.path.join(folder, path), files.size(path)
    _make_folders(folder, path)
    descriptor = syscalls.create(target)
    blocks = []
    try:
        for at in range(0, size, BLOCK):
            data = files.read(path, at, min(BLOCK, size - at))
            syscalls.write_at(descriptor, data, at, target)
            blocks.append(block_digest(data))
            if progress is not None:
                progress.advance(len(data))
        syscalls.sync(descriptor, target)
    finally:
        os.close(descriptor)
    return seal_of(size, b"".join(blocks))


def _make_folders(folder: str, path: str) -> None:
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        syscalls.make_directory(os.path.join(folder, *parts[:count]))
