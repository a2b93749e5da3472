"""Hashes as a W&B manifest has them.

Base64 of MD5, or of XXH128 where an artifact was logged with that.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, BinaryIO

from ckpt_core import UnsupportedFormatError


class Digest:
    """The hash of bytes that come in order.

    Args:
        algorithm: `md5` or `xxh128`.

    Raises:
        UnsupportedFormatError: It is another one.
    """

    def __init__(self, algorithm: str) -> None:
        self._inner = _inner(algorithm)

    def see(self, data: memoryview) -> None:
        self._inner.update(data)

    def text(self) -> str:
        """Return it as manifests have it."""
        return b64encode(self._inner.digest()).decode()


_SLAB = 1 << 20


def slabs(file: BinaryIO, length: int | None = None) -> Iterator[memoryview]:
    """Yield a file's bytes in one buffer that is used again.

    They go from where it stands to its end, or are so many.
    """
    buffer = memoryview(bytearray(_SLAB))
    left = length
    while left is None or left > 0:
        count = file.readinto(buffer if left is None else buffer[:left])  # type: ignore[attr-defined]
        if not count:
            return
        left = None if left is None else left - count
        yield buffer[:count]


def write_all(file: BinaryIO, data: memoryview) -> None:
    """Write all of some bytes to an unbuffered file.

    It may take a part of them at once.
    """
    while len(data):
        data = data[file.write(data) :]


def _inner(algorithm: str) -> Any:
    if algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    if algorithm == "xxh128":
        import xxhash

        return xxhash.xxh3_128()
    raise UnsupportedFormatError(f"the manifest has digests of {algorithm}, which are not known; update ckpt-wandb")
