"""Chooses the blocks to read for a sample.

They are spread over each file, and over all files alike at every moment. No list of blocks is made: the memory does not
depend on the size of the files.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import accumulate
from math import ceil

import xxhash

from ckpt_core.storage.digests import BLOCK


class Blocks:
    """The wanted 1 MiB blocks of a file, numbered from 0.

    Args:
        spans: What is wanted: (first byte, byte after the last), by first byte.
    """

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        runs: list[tuple[int, int]] = []
        for start, end in spans:
            first, last = start // BLOCK, (end - 1) // BLOCK
            if runs and first <= runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], max(runs[-1][1], last))
            else:
                runs.append((first, last))
        self._firsts = [first for first, _ in runs]
        self._before = [0, *accumulate(last - first + 1 for first, last in runs)]

    def __len__(self) -> int:
        return self._before[-1]

    def __getitem__(self, index: int) -> int:
        """Return the number that the block has in its file."""
        run = bisect_right(self._before, index) - 1
        return self._firsts[run] + index - self._before[run]


def taken(count: int, share: float) -> int:
    """Return how many of `count` blocks a share is.

    One at least.
    """
    return min(max(ceil(count * share), 1), count)


def spread(count: int, seed: str) -> Iterator[int]:
    """Yield each number below `count`, evenly spread at first.

    Each comes once, and the first few of them are spread evenly, wherever one stops. Counting with the bits of each
    number reversed halves every gap before it begins to fill the halves; the seed says where the circle begins.
    """
    bits = (count - 1).bit_length()
    begin = xxhash.xxh3_64_intdigest(seed.encode()) % count
    for number in range(1 << bits):
        turned = int(f"{number:0{bits}b}"[::-1], 2) if bits else 0
        if turned < count:
            yield (turned + begin) % count


def choice(counts: Mapping[str, int], share: float, seed: int) -> Iterator[tuple[str, int]]:
    """Yield names with numbers below their counts, evenly.

    At every moment about the same share of each name has come.

    Args:
        counts: Names, and how many pieces each has.
        share: How much of each is to come.
        seed: Another one chooses others.
    """
    queues = [_queue(name, count, taken(count, share), seed) for name, count in sorted(counts.items()) if count]
    for _, name, number in merge(*queues):
        yield name, number


def _queue(name: str, count: int, most: int, seed: int) -> Iterator[tuple[float, str, int]]:
    for place, number in zip(range(most), spread(count, f"{seed} {name}"), strict=False):
        yield (place + 0.5) / most, name, number
