"""The shapes that scales can have for given codes.

There is one scale for all, or for each row, column, group or block.
"""

from collections.abc import Callable, Sequence
from math import prod

Shape = Sequence[int]
Fits = Callable[[Shape, Shape], bool]

_RUNS = tuple(2**power for power in range(5, 13))
"""Numbers of weights that share one scale in bitsandbytes (`functional.py`, blocksize)."""


def anything(codes: Shape, scales: Shape) -> bool:
    """Accept any shape, for schemes with packing of their own."""
    return True


def of_blocks(codes: Shape, scales: Shape) -> bool:
    """Accept one scale, or one for each block.

    A block is a row, a column, a group or a block of both.
    """
    if prod(scales) == 1:
        return True
    if len(scales) == 1:
        return scales[0] in codes
    if len(scales) != len(codes):
        return True
    turned = len(codes) == 2 and tuple(scales) == (1, codes[0])
    return turned or all(_divides(size, parts) for size, parts in zip(codes, scales, strict=True))


def of_blocks_or_turned(codes: Shape, scales: Shape) -> bool:
    """Accept blocks, or [groups, rows] for packed columns."""
    return of_blocks(codes, scales) or (len(codes) == len(scales) == 2 and scales[1] == codes[0])


def _divides(size: int, parts: int) -> bool:
    """Return True if equal blocks make so many parts.

    The last block may be shorter.
    """
    return 0 < parts <= size and -(-size // -(-size // parts)) == parts


def of_rows(codes: Shape, scales: Shape) -> bool:
    """Accept one scale, or some for each row.

    Columns are packed.
    """
    return prod(scales) == 1 or (bool(codes and scales) and codes[0] == scales[0])


def of_columns(codes: Shape, scales: Shape) -> bool:
    """Accept GPTQ's [groups, columns] for packed rows."""
    return len(codes) == len(scales) == 2 and codes[1] == scales[1]


def of_packed_columns(codes: Shape, scales: Shape) -> bool:
    """Accept AWQ's shapes.

    Columns are packed by eight (GEMM), rows are as they are (GEMV), or rows are packed by four (GEMV_FAST).
    """
    if len(codes) != 2 or len(scales) != 2:
        return False
    return scales[1] == 8 * codes[1] or scales[0] == codes[0] or scales[1] == 4 * codes[0]


def of_runs(codes: Shape, scales: Shape) -> bool:
    """Accept bitsandbytes' scales of 4-bit codes.

    There is one for each run of the flat weights, of which a byte holds two.
    """
    return any(-(-2 * prod(codes) // run) == prod(scales) for run in _RUNS)


def of_last(codes: Shape, scales: Shape) -> bool:
    """Accept one scale for each row of the last dimension."""
    return tuple(codes[:-1]) == tuple(scales)
