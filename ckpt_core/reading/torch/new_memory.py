"""New memory for tensors, in huge pages while those are at hand.

To fill 4 KiB pages one fault at a time is nearly all that a read into new memory costs, and huge pages take a quarter
of that. Where none are ready they take many times more: a host that takes free memory back from its virtual machines
(free page reporting, with QEMU or Firecracker) does so by stretches of 2 MiB, and gives each back in 512 faults of its
own; elsewhere the kernel moves other pages out of the way first. So pages are touched before they are filled, and from
the first that took as long as small ones would have, the rest is small.
"""

import mmap
from collections.abc import Sequence
from math import prod
from threading import Event
from time import thread_time
from typing import TYPE_CHECKING, NamedTuple

from ckpt_core.storage.workers import run, stretches

if TYPE_CHECKING:
    import torch

_HUGE_PAGE = 2 << 20

_DEAR = 1e-3
"""Processor seconds that a huge page may take: 0.2 ms where it is at hand, 4.5 where the host has to find it."""


class _Page(NamedTuple):
    region: mmap.mmap
    start: int


def new_region(length: int) -> mmap.mmap:
    """Return zeroed memory; see `new_regions`."""
    return new_regions([length])[0]


def new_regions(lengths: Sequence[int]) -> list[mmap.mmap]:
    """Return zeroed regions of memory of so many bytes each.

    In huge pages for as long as those are cheaper than small ones; such regions are touched, by several workers.
    """
    regions = [mmap.mmap(-1, max(length, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for length in lengths]
    pages = [
        _Page(region, start)
        for region in regions
        if len(region) >= _HUGE_PAGE and _in_huge_pages(region)
        for start in range(0, len(region), _HUGE_PAGE)
    ]
    dear = Event()
    run(lambda share: _touch(share, dear), stretches(pages, [_HUGE_PAGE] * len(pages)))
    return regions


def _in_huge_pages(region: mmap.mmap) -> bool:
    try:
        region.madvise(mmap.MADV_HUGEPAGE)
    except (AttributeError, OSError):
        return False  # a system, or a kernel, without them
    return True


def _touch(pages: Sequence[_Page], dear: Event) -> None:
    import torch

    for region, start in pages:
        if dear.is_set():
            region.madvise(mmap.MADV_NOHUGEPAGE)  # of what is touched already nothing changes
            continue
        began = thread_time()
        torch.frombuffer(region, dtype=torch.uint8, count=1, offset=start).zero_()  # others run meanwhile
        if thread_time() - began > _DEAR:
            dear.set()
            region.madvise(mmap.MADV_NOHUGEPAGE)


def empty_tensors(kinds: "Sequence[tuple[tuple[int, ...], torch.dtype]]") -> "list[torch.Tensor]":
    """Return CPU tensors of such shapes and types that hold anything.

    Each has memory of its own, the large ones from `new_regions`.
    """
    import torch

    sizes = [prod(shape) * dtype.itemsize for shape, dtype in kinds]
    regions = iter(new_regions([size for size in sizes if size >= _HUGE_PAGE]))
    return [
        torch.frombuffer(next(regions), dtype=dtype, count=prod(shape)).reshape(shape)
        if size >= _HUGE_PAGE
        else torch.empty(shape, dtype=dtype)
        for (shape, dtype), size in zip(kinds, sizes, strict=True)
    ]
