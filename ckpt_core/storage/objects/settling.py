"""Rules that stores of objects share.

How large a part is, and whether an object is the one that was put.
"""

import math
from collections.abc import Callable

_MIB = 1 << 20
_SLAB = 8 * _MIB
_PART = 8 * _MIB
"""Bytes of a part: so large that a request more does not matter, so small that several are in memory at once."""

_MOST_PARTS = 10_000
"""Of an upload. Source: Amazon S3 user guide, "Amazon S3 multipart upload limits"."""


def part_bytes(size: int) -> int:
    """Bytes of each part of an object so long, in whole MiB."""
    return max(_PART, math.ceil(size / _MOST_PARTS / _MIB) * _MIB)


def holds(size: int, data: bytes | memoryview, read: Callable[[int, int], bytes]) -> bool:
    """Return whether an object holds exactly `data`.

    It is read in slabs from start to end; `size` is in bytes.
    """
    view = memoryview(data).cast("B")
    if size != len(view):
        return False
    starts = range(0, size, _SLAB)
    return all(read(at, min(at + _SLAB, size)) == view[at : at + _SLAB] for at in starts)
