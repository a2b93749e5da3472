"""A file's content as spans of this process's memory.

Digests are taken of it chunk by chunk.

The checksums that a format keeps of its tensors are taken where the first chunk needs one: a disk has another chunk
meanwhile.
"""

import ctypes
from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from ckpt_core import knobs
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, TensorBytes, TensorKey
from ckpt_core.storage.crc import crc32
from ckpt_core.storage.digests import BLOCK, block_digest, of_blocks, of_small_tensor
from ckpt_core.storage.workers import check_stop, got_on
from ckpt_core.storage.writing.sinks import late_bytes


class Span(NamedTuple):
    """Bytes of a file from `start` to `stop`, and their place.

    `tensor` is None for those of no tensor whose digest is wanted, and `late` for those that are known.
    """

    start: int
    stop: int
    address: int
    tensor: TensorKey | None
    late: LateBytes | None = None


class FileInMemory:
    """A file to be written, and its state meanwhile.

    Any thread may give any chunk, each once.

    Args:
        plan: The file: bytes that are known, whole tensors, and bytes that depend on their checksums.
        checkpoint: Whose tensors they are.
        addresses: Where each of them lies.
        wanted: Those whose digests are; None for all.
    """

    def __init__(
        self,
        plan: FilePlan,
        checkpoint: Checkpoint,
        addresses: Mapping[TensorKey, int],
        wanted: Container[TensorKey] | None = None,
    ) -> None:
        self.path = plan.path
        self.spans = list(_spans(plan, addresses, wanted))
        self.size = self.spans[-1].stop if self.spans else 0
        self.tensors: dict[TensorKey, str] = {}
        self.blocks = bytearray(-(-self.size // BLOCK) * 16)
        self._plan = plan  # the bytes that the spans point to
        self._addresses = addresses
        self._late: dict[int, bytes] = {}
        self._starts = [span.start for span in self.spans]
        tables = {part.label: part.tensors for part in checkpoint.manifest.components}
        self._kinds: dict[TensorKey, tuple[DType, tuple[int, ...]]] = {}
        self._parted: dict[TensorKey, bytearray] = {}
        for section in plan.sections:
            if isinstance(section, TensorBytes) and (wanted is None or section.key in wanted):
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
            if span.late is None:
                ctypes.memmove(address + first - begin, span.address + first - span.start, last - first)
            else:
                out[first - begin : last - begin] = self._made(span)[first - span.start : last - span.start]
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

    def _made(self, span: Span) -> bytes:
        """Return late bytes; in two chunks they are the same."""
        assert span.late is not None
        if span.start not in self._late:
            sections = self._plan.sections if span.late.of is None else (span.late.of,)
            of = [section for section in sections if isinstance(section, TensorBytes)]
            crcs = {section: _checksum(self._addresses[section.key], section.length) for section in of}
            self._late.setdefault(span.start, late_bytes(self._plan, span.late, crcs))
        return self._late[span.start]

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


def _spans(plan: FilePlan, addresses: Mapping[TensorKey, int], wanted: Container[TensorKey] | None) -> Iterator[Span]:
    at = 0
    for section in plan.sections:
        end = at + section.length
        if end > at and isinstance(section, TensorBytes):
            key = section.key
            yield Span(at, end, addresses[key], key if wanted is None or key in wanted else None)
        elif end > at and isinstance(section, Literal):
            yield Span(at, end, ctypes.cast(ctypes.c_char_p(section.data), ctypes.c_void_p).value or 0, None)
        elif end > at and isinstance(section, LateBytes):
            yield Span(at, end, 0, None, section)
        at = end


def _checksum(address: int, length: int) -> int:
    crc, slab = 0, knobs.slab_bytes()
    for at in range(0, length, slab):
        check_stop()
        piece = (ctypes.c_char * min(slab, length - at)).from_address(address + at)
        crc = crc32(memoryview(piece).cast("B"), crc)
        got_on()
    return crc
