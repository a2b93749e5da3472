"""Buffers that are used again.

The first touch of fresh memory costs more than a read into memory that was touched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

_WORTH_KEEPING = 64 << 10
"""Bytes below which a buffer comes from memory that the process has at hand anyway."""

_MOST_KEPT = 4 << 20
"""Bytes that a thread keeps: the slabs of the streams that it has open at once."""

_own = local()


@contextmanager
def borrowed(size: int) -> Iterator[memoryview]:
    """Lend a buffer of `size` bytes for the block.

    It holds anything; what is made by a thread ends with it.
    """
    if size < _WORTH_KEEPING:
        yield memoryview(bytearray(size))
        return
    kept: list[bytearray] = _own.__dict__.setdefault("kept", [])
    fitting = next((index for index, buffer in enumerate(kept) if len(buffer) >= size), None)
    buffer = bytearray(size) if fitting is None else kept.pop(fitting)
    try:
        yield memoryview(buffer)[:size]
    finally:
        if sum(map(len, kept)) + len(buffer) <= _MOST_KEPT:
            kept.append(buffer)
