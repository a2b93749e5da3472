"""A file's content as spans of this process's memory.

Digests are taken of it chunk by chunk.
"""

import ctypes
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.plans import FilePlan, Literal, TensorBytes, TensorKey
from ckpt_core.storage.digests import BLOCK, block_digest, of_blocks, of_small_tensor


class Span(NamedTuple):
    """Bytes of a file from `start` to `stop`, and their place.

    `tensor` is None for those of no tensor.
    """

    start: int
    stop: int
    address: int
    tensor: TensorKey | None


class FileInMemory:
    """A file to be written, and its state meanwhile.

    Any thread may give any chunk, each once.

    Args:
        plan: The file: bytes that are known, and whole tensors.
        checkpoint: Whose tensors they are.
        addresses: Where each of them lies.
    """

    def __init__(self, plan: FilePlan, checkpoint: Checkpoint, addresses: Mapping[TensorKey, int]) -> None:
        self.path = plan.path
        self.spans = list(_spans(plan, addresses))
        self.size = self.spans[-1].stop if self.spans else 0
        self.tensors: dict[TensorKey, str] = {}
        self.blocks = bytearray(-(-self.size // BLOCK) * 16)
        self._plan = plan  # the bytes that the spans point to
        self._starts = [span.start for span in self.spans]
        tables = {part.label: part.tensors for part in checkpoint.manifest.components}
        self._kinds: dict[TensorKey, tuple[DType, tuple[int, ...]]] = {}
        self._parted: dict[TensorKey, bytearray] = {}
        for section in plan.sections:
            if isinstance(section, TensorBytes):
                info = tables[section.component].info(section.name)
                self._kinds[section.key] = (info.dtype, info.shape)
                if section.length > BLOCK:
                    self._parted[section.key] = bytearray(-(-section.length // BLOCK) * 16)
                elif not section.length:
                    self.tensors[section.key] = of_small_tensor(info.dtype, info.shape, b"")

    def fill(self, begin: int, end: int, out: memoryview, address: int) -> None:
        """Copy bytes `begin` to `end` to an address, and digest them.

        `out` is a view of the memory there.
        """
        for span in self._within(begin, end):
            first, last = max(span.start, begin), min(span.stop, end)
            ctypes.memmove(address + first - begin, span.address + first - span.start, last - first)
        for span in self._within(begin, end):
            if span.tensor is not None:
                self._digest(span, span.tensor, begin, end, out)
        for at in range(begin, end, BLOCK):
            number = at // BLOCK * 16
            self.blocks[number : number + 16] = block_digest(out[at - begin : min(at + BLOCK, end) - begin])

    def finish(self) -> None:
        """Make the digests of the tensors that were given in several chunks."""
        for key, blocks in self._parted.items():
            self.tensors[key] = of_blocks(*self._kinds[key], bytes(blocks))

    def _within(self, begin: int, end: int) -> Iterator[Span]:
        for span in islice(self.spans, max(bisect_right(self._starts, begin) - 1, 0), None):
            if span.start >= end:
                return
            yield span

    def _digest(self, span: Span, key: TensorKey, begin: int, end: int, out: memoryview) -> None:
        """Digest the blocks of a tensor that begin in a chunk.

        Where they were copied to, or where they lie.
        """
        length = span.stop - span.start
        if length <= BLOCK and span.start >= begin:
            self.tensors[key] = of_small_tensor(*self._kinds[key], _bytes(span, 0, length, begin, end, out))
            return
        blocks = self._parted.get(key)
        if blocks is None:  # small, and begun in the chunk before
            return
        for number in range(max(-(-(begin - span.start) // BLOCK), 0), -(-length // BLOCK)):
            at = number * BLOCK
            if span.start + at >= end:
                return
            part = _bytes(span, at, min(at + BLOCK, length), begin, end, out)
            blocks[number * 16 : number * 16 + 16] = block_digest(part)


def _bytes(span: Span, first: int, last: int, begin: int, end: int, out: memoryview) -> memoryview:
    """Return bytes of a tensor that begin in a chunk.

    Of the copy, which a processor has at hand, unless it ends before.
    """
    if span.start + last <= end:
        return out[span.start + first - begin : span.start + last - begin]
    return memoryview((ctypes.c_char * (last - first)).from_address(span.address + first)).cast("B")


def _spans(plan: FilePlan, addresses: Mapping[TensorKey, int]) -> Iterator[Span]:
    at = 0
    for section in plan.sections:
        end = at + section.length
        if end > at and isinstance(section, TensorBytes):
            yield Span(at, end, addresses[section.key], section.key)
        elif end > at and isinstance(section, Literal):
            yield Span(at, end, ctypes.cast(ctypes.c_char_p(section.data), ctypes.c_void_p).value or 0, None)
        at = end
