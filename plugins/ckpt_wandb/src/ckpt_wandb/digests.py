"""Hashes as a W&B manifest has them: base64 of MD5, or of XXH128 where an artifact was logged with that."""

import hashlib
from base64 import b64encode
from typing import Any

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


def _inner(algorithm: str) -> Any:
    if algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    if algorithm == "xxh128":
        import xxhash

        return xxhash.xxh3_128()
    raise UnsupportedFormatError(f"the manifest has digests of {algorithm}, which are not known; update ckpt-wandb")
