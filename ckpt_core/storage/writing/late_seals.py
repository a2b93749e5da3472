"""Late naming of a seal.

The writer of a file was killed between naming the file and naming its seal: it is in the stage, whole.
"""

import os
from collections.abc import Iterable

from ckpt_core.errors import CorruptError
from ckpt_core.schema.side_files.reserved_names import FILE_SUFFIX
from ckpt_core.schema.side_files.seals import FileSeal, unpack
from ckpt_core.storage.digests import BLOCK, block_digest, seal_of
from ckpt_core.storage.writing import syscalls


def name_late(destination: str, staged: Iterable[str]) -> None:
    """Name the first staged seal that is true of the file.

    Every byte is compared; the file is unsealed, at `destination`.
    """
    seal = destination + FILE_SUFFIX
    if os.path.lexists(seal) or os.path.islink(destination) or not os.path.isfile(destination):
        return
    for path in staged:
        if os.path.isfile(path) and not os.path.islink(path) and _is_of(path, destination):
            syscalls.rename(path, seal)
            syscalls.sync_directory(os.path.dirname(destination))
            return


def _is_of(path: str, destination: str) -> bool:
    try:
        with open(path, "rb") as file:
            said = unpack(file.read(), None, path=path).files
    except CorruptError:
        return False
    own = said.get(os.path.basename(destination))
    return own is not None and own.size == os.path.getsize(destination) and own == _read(destination)


def _read(path: str) -> FileSeal:
    blocks = []
    with open(path, "rb") as file:
        while data := file.read(BLOCK):
            blocks.append(block_digest(data))
        return seal_of(file.tell(), b"".join(blocks))
