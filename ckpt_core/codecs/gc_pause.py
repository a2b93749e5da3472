"""Switches Python's cyclic garbage collector off for large tables."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Switch the garbage collector off within the block.

    The collector takes up to half the time among the objects of many tensors, and finds nothing.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
