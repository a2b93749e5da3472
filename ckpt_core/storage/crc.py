"""CRC-32 at the speed of memory.

It is isa-l's, and zlib's on machines that it is not built for, with the same sums.
"""

from collections.abc import Callable

Buffer = bytes | bytearray | memoryview


def _load() -> tuple[Callable[..., int], Callable[[int, int, int], int] | None]:
    try:
        from isal import isal_zlib
    except ImportError:  # a machine that isa-l is not built for
        import zlib

        return zlib.crc32, None
    return isal_zlib.crc32, isal_zlib.crc32_combine


crc32, _combine = _load()


def combined(first: int, second: int, length: int) -> int:
    """Return the sum of two neighbours from those of each.

    `length` is that of the second.
    """
    if _combine is not None:
        return _combine(first, second, length)
    return _combined_slowly(first, second, length)


def _combined_slowly(first: int, second: int, length: int) -> int:
    """Return the same sum by appending zero bytes to the first.

    Squarings of a matrix over GF(2), as zlib's crc32_combine.
    """
    odd = [0xEDB88320, *(1 << bit for bit in range(31))]
    even = [_times(odd, row) for row in odd]
    matrix = [_times(even, row) for row in even]
    while length:
        matrix = [_times(matrix, row) for row in matrix]
        if length & 1:
            first = _times(matrix, first)
        length >>= 1
    return first ^ second


def _times(matrix: list[int], vector: int) -> int:
    found = 0
    for row in matrix:
        if vector & 1:
            found ^= row
        vector >>= 1
    return found
