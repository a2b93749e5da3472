"""Proves sealed files: each byte is read and compared.

Every byte is read once, by several workers, or those that no other read has compared.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Files
from ckpt_core.schema.side_files.seal_findings import stale_files, unlike_block
from ckpt_core.schema.side_files.seals import DIGEST_BYTES, Seal
from ckpt_core.storage.checking.checked_files import CheckedFiles
from ckpt_core.storage.digests import BLOCK, block_digest
from ckpt_core.storage.sealing import read_seal
from ckpt_core.storage.workers import check_stop, run, stretches

_BLOCKS = 64
"""Blocks of a file that one worker takes at once: it reads them in a row."""

_PART = _BLOCKS * BLOCK


class _Part(NamedTuple):
    path: str
    begin: int
    end: int
    digests: bytes


def prove_sealed(files: Files) -> Seal:
    """Read every byte of sealed files, and return their seal.

    Memory: a block a worker.

    Raises:
        CorruptError: There is no seal, or a file is not there or not what was sealed (SL001 to SL003).
        ReplacedError: It was replaced meanwhile.
        CkptError: It cannot be read.
    """
    seal = read_seal(files)
    if seal is None:
        raise CorruptError(f"{files.location}: it has no seal, so that its bytes cannot be proved")
    for finding in stale_files(files, seal):
        raise CorruptError(f"{files.location}: {finding.message}", code=finding.code, path=finding.path)
    parts = [
        _Part(path, at, min(at + _PART, file.size), file.blocks)
        for path, file in seal.files.items()
        for at in range(0, file.size, _PART)
    ]
    _prove_parts(files, parts)
    files.check_unchanged()
    return seal


def prove_rest(files: Files) -> None:
    """Read every byte of sealed files that no read has compared.

    All of it where the listing compares nothing. What is read here is compared once more by whoever reads it next, from
    the same listing. Memory: a block a worker.

    Raises:
        CorruptError: A file is not what was sealed (SL002).
        CkptError: It cannot be read.
    """
    if not isinstance(files, CheckedFiles):
        prove_sealed(files)
        return
    parts = [
        _Part(path, begin, end, blocks.digests)
        for path, blocks in files.sealed_blocks().items()
        for begin, end in blocks.rest(_BLOCKS)
    ]
    _prove_parts(files.inner, parts)


def _prove_parts(files: Files, parts: Sequence[_Part]) -> None:
    run(lambda share: _prove(files, share), stretches(parts, [part.end - part.begin for part in parts]))


def _prove(files: Files, parts: Sequence[_Part]) -> None:
    buffer = memoryview(bytearray(min(BLOCK, max(part.end - part.begin for part in parts))))
    for path, begin, end, digests in parts:
        for at in range(begin, end, BLOCK):
            check_stop()
            number, data = at // BLOCK, buffer[: min(at + BLOCK, end) - at]
            files.read_into(path, at, data)
            if block_digest(data) != digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]:
                finding = unlike_block(path, number, at, at + len(data), ())
                raise CorruptError(f"{files.location}: {finding.message}", code=finding.code, path=path)
