"""Seals read from a listing, and files digested block by block to compare with them."""

from collections.abc import Iterator

from ckpt_core import knobs
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import Kind
from ckpt_core.schema.seals import BLOCKS, DIGEST_BYTES, DIRECTORY_SEAL, FILE_SUFFIX, Seal, unpack
from ckpt_core.storage.digests import BLOCK, block_digest
from ckpt_core.storage.workers import run


def read_seal(files: Files) -> Seal | None:
    """The seal of a listing; None where there is none. CorruptError (SL005) where it cannot be read."""
    if files.location.kind is Kind.FILE:
        name = next(iter(files.entries)) + FILE_SUFFIX
        text = files.beside(name)
        return None if text is None else unpack(text, None, path=name)
    text = files.beside(DIRECTORY_SEAL)
    return None if text is None else unpack(text, files.beside(BLOCKS) or b"", path=DIRECTORY_SEAL)


def damaged_blocks(files: Files, path: str, blocks: bytes) -> Iterator[int]:
    """Numbers of the 1 MiB blocks of a file whose digest is not the sealed one; several workers read it."""
    count = len(blocks) // DIGEST_BYTES
    share = -(-count // knobs.workers()) or 1
    parts = [list(range(start, min(start + share, count))) for start in range(0, count, share)]
    for found in run(lambda numbers: _damaged(files, path, numbers, blocks), parts):
        yield from found


def _damaged(files: Files, path: str, numbers: list[int], blocks: bytes) -> list[int]:
    size = files.size(path)
    buffer = memoryview(bytearray(min(BLOCK, size)))
    found = []
    for number in numbers:
        out = buffer[: min(BLOCK, size - number * BLOCK)]
        files.read_into(path, number * BLOCK, out)
        if block_digest(out) != blocks[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]:
            found.append(number)
    return found
