"""Work shared out among threads: each gets one contiguous stretch, since interleaved reads defeat readahead."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ckpt_core import knobs

T = TypeVar("T")
R = TypeVar("R")


def stretches(items: Sequence[T], sizes: Sequence[int]) -> list[list[T]]:
    """The items in as many stretches as there are workers, in order, of about as many bytes each; none is empty."""
    total, shares = sum(sizes), knobs.workers()
    result: list[list[T]] = []
    done = 0
    for item, size in zip(items, sizes, strict=True):
        if not result or (len(result) < shares and done >= total * len(result) / shares):
            result.append([])
        result[-1].append(item)
        done += size
    return result


def run(work: Callable[[list[T]], R], shares: Sequence[list[T]]) -> list[R]:
    """What `work` makes of each share, one thread each; the first error is raised after all have ended."""
    if len(shares) <= 1:
        return [work(share) for share in shares]
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(work, shares))
