"""Randomness that depends on a key alone.

It is the same whoever draws, in whichever process, after whatever else was drawn.

The generators of Python, numpy and torch's CPU are seeded for a block and put back behind it, so that what is drawn
inside neither depends on the process around it nor disturbs it.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def key_of(*numbers: int) -> int:
    """Return 128 bits made of numbers.

    Other numbers, or another order of them, give others.
    """
    text = ",".join(map(str, numbers)).encode()
    return int.from_bytes(blake2b(text, digest_size=16).digest(), "little")


@contextmanager
def keyed(key: int) -> Iterator[None]:
    """Seed every generator of this process with a key for a block."""
    import numpy as np
    import torch

    generator = torch.default_generator  # torch.manual_seed would seed the accelerators' too, and not put them back
    before = random.getstate(), np.random.get_state(), generator.get_state()
    random.seed(key)
    np.random.seed([(key >> shift) & 0xFFFF_FFFF for shift in (0, 32, 64, 96)])
    generator.manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        generator.set_state(before[2])


def generator_of(*numbers: int) -> "torch.Generator":
    """Return a generator of torch's, seeded with numbers.

    The numbers make its key.
    """
    import torch

    return torch.Generator().manual_seed(key_of(*numbers) & 0x7FFF_FFFF_FFFF_FFFF)
