"""The outcome of a copy.

The digests of all that is there now, and how each part came there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpt_core.storage.copying.work import PartKey


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that is done, and not yet named.

    Attributes:
        blocks: The digests of the blocks of each part, 16 bytes each.
        moved: How many parts this run read and wrote.
        kept: How many an earlier run had moved.
        shared: How many were not moved: the disk shares them, or the store copied them itself.
        cached: How many came from a cache on this machine.
    """

    blocks: Mapping[PartKey, bytes]
    moved: int = 0
    kept: int = 0
    shared: int = 0
    cached: int = 0
