"""A stretch of a file in memory: mapped, or read by several workers into huge pages.

Filling 4 KiB pages one fault at a time is nearly all that a plain read into new memory costs; one buffer of huge pages,
each worker reading one contiguous part of it, leaves the copy alone.
"""

import mmap
import os

from ckpt_core import knobs
from ckpt_core.schema.access import Files
from ckpt_core.storage.files.local import open_regular
from ckpt_core.storage.workers import WORTH_A_WORKER, run

_MADV_POPULATE_READ = 22
"""Linux 5.14 and later: fill the page table for reading, without a copy of private pages."""


def map_region(files: Files, path: str, local: str, offset: int, length: int) -> mmap.mmap:
    """A private mapping of a listed file that is at `local`: writing to it changes this process's copy only.

    `offset` is a multiple of the page size.
    """
    descriptor = open_regular(local, path)
    try:
        files.opened(path, descriptor)
        region = mmap.mmap(
            descriptor, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=offset
        )
    finally:
        os.close(descriptor)
    try:
        region.madvise(_MADV_POPULATE_READ)
    except OSError:
        pass  # an older kernel: pages come when they are touched
    return region


def new_region(length: int) -> mmap.mmap:
    """Zeroed memory in huge pages where the system has them."""
    region = mmap.mmap(-1, max(length, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            region.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel without them
    return region


def read_region(files: Files, path: str, offset: int, length: int) -> mmap.mmap:
    """A stretch of a file in memory of our own."""
    region = new_region(length)
    read_parallel(files, path, offset, memoryview(region)[:length])
    return region


def read_parallel(files: Files, path: str, offset: int, out: memoryview) -> None:
    """Fill `out` from byte `offset` of a file, each worker one contiguous part."""
    local = files.local_path(path)
    workers = min(knobs.workers(), max(len(out) // WORTH_A_WORKER, 1))
    if workers == 1 or local is None:
        files.read_into(path, offset, out)
        return
    share = -(-len(out) // workers)
    parts = [[at] for at in range(0, len(out), share)]
    run(lambda part: files.read_into(path, offset + part[0], out[part[0] : part[0] + share]), parts)
