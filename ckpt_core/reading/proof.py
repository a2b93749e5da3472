"""A checkpoint read back in one pass: the digest of every block of its files and of every tensor in them.

This is what a seal records and what proves a conversion: the tensors are found through the reader of the format that
was written, not through the plan that wrote them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.digests import digest_tensor
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.seals import FileSeal
from ckpt_core.schema.tensors import Outline
from ckpt_core.storage.digests import BLOCK, TensorDigest, block_digest, of_small_tensor, of_tensors, seal_of
from ckpt_core.storage.workers import run, stretches

_Place = tuple[int, str, tuple[int, ...]]
"""Offset, type and shape: two names at one place are one tensor."""


@dataclass(slots=True)
class ReadBack:
    """What was found: the seal of each file, the digest of each tensor and component."""

    files: dict[str, FileSeal] = field(default_factory=dict)
    tensors: dict[TensorKey, str] = field(default_factory=dict)

    def by_component(self) -> dict[str, dict[str, str]]:
        """Digests of tensors by name, by label."""
        result: dict[str, dict[str, str]] = {}
        for (label, name), digest in self.tensors.items():
            result.setdefault(label, {})[name] = digest
        return result

    def components(self) -> dict[str, str]:
        """Digest of each component with tensors."""
        return {label: of_tensors(names) for label, names in self.by_component().items()}


def read_back(checkpoint: StoredCheckpoint) -> ReadBack:
    """Read every file of a checkpoint once, in 1 MiB blocks. CkptError where a read fails."""
    checkpoint.settle()
    found = ReadBack()
    plain: dict[str, dict[_Place, list[TensorKey]]] = {path: {} for path in checkpoint.files.entries}
    for component in checkpoint.manifest.components:
        for name, outline in component.tensors.outlines():
            key = (component.label, name)
            if outline.path is None:
                entry = component.tensors[name]
                found.tensors[key] = digest_tensor(checkpoint, component.label, name, entry)
            else:
                place = (outline.offset, outline.dtype.code, outline.shape)
                plain[outline.path].setdefault(place, []).append(key)
    for path, places in plain.items():
        outlines = {
            place: checkpoint.component(keys[0][0]).tensors.outline(keys[0][1]) for place, keys in places.items()
        }
        seal, digests = _read_file(checkpoint, path, outlines)
        found.files[path] = seal
        for place, digest in digests.items():
            found.tensors.update(dict.fromkeys(places[place], digest))
    return found


@dataclass(slots=True)
class _Region:
    """A stretch of a file for one worker, from the start of a tensor to that of another, and the tensors in it."""

    start: int
    end: int
    tensors: list[tuple[_Place, Outline]]


def _read_file(
    checkpoint: StoredCheckpoint, path: str, outlines: dict[_Place, Outline]
) -> tuple[FileSeal, dict[_Place, str]]:
    size = checkpoint.files.size(path)
    digests: dict[_Place, str] = {}
    blocks: dict[int, bytes] = {}
    for found_blocks, found_digests in run(
        lambda share: _read_region(checkpoint, path, share[0], size), [[r] for r in _regions(outlines, size)]
    ):
        blocks.update(found_blocks)
        digests.update(found_digests)
    return seal_of(size, b"".join(blocks[number] for number in sorted(blocks))), digests


def _regions(outlines: dict[_Place, Outline], size: int) -> list[_Region]:
    """Regions of about as many bytes, that end where no tensor is cut; one where tensors overlap each other."""
    ordered = sorted(outlines.items(), key=lambda item: item[0])
    ends = [outline.offset + outline.nbytes for _, outline in ordered]
    apart = all(end <= nxt[1].offset for end, nxt in zip(ends, ordered[1:], strict=False))
    shares = stretches(ordered, [outline.nbytes for _, outline in ordered]) if apart else [ordered]
    starts = [0, *(share[0][1].offset for share in shares[1:])]
    stops = [*starts[1:], size]
    return [_Region(a, b, list(s)) for a, b, s in zip(starts, stops, shares or [[]], strict=True)]


def _read_region(
    checkpoint: StoredCheckpoint, path: str, region: _Region, size: int
) -> tuple[dict[int, bytes], dict[_Place, str]]:
    """Digests of the blocks that start in a region, and of its tensors. A block is read to its end, or the tensors'."""
    buffer = memoryview(bytearray(BLOCK))
    blocks: dict[int, bytes] = {}
    tensors = _Digests(region.tensors)
    for number in range(region.start // BLOCK, -(-region.end // BLOCK)):
        begin, end = number * BLOCK, min((number + 1) * BLOCK, size)
        data = buffer[: end - begin]
        checkpoint.files.read_into(path, begin, data)
        if checkpoint.progress is not None:
            checkpoint.progress.advance(len(data))
        if begin >= region.start:
            blocks[number] = block_digest(data)
        tensors.update(data, begin, end)
    return blocks, tensors.done()


class _Digests:
    """The digests of tensors, by place, fed with the blocks of their file in order. `tensors` are sorted by offset."""

    def __init__(self, tensors: Sequence[tuple[_Place, Outline]]) -> None:
        self._tensors = tensors
        self._next = 0
        self._whole = {place: of_small_tensor(o.dtype, o.shape, b"") for place, o in tensors if not o.nbytes}
        self._parted: dict[_Place, TensorDigest] = {}

    def update(self, data: memoryview, begin: int, end: int) -> None:
        """Take in the bytes from `begin` to `end` of the file."""
        while self._next < len(self._tensors) and _end(self._tensors[self._next][1]) <= begin:
            self._next += 1
        for index in range(self._next, len(self._tensors)):
            place, outline = self._tensors[index]
            if outline.offset >= end:
                break
            first, last = max(outline.offset, begin), min(_end(outline), end)
            part = data[first - begin : max(last - begin, 0)]
            if len(part) == outline.nbytes:
                self._whole[place] = of_small_tensor(outline.dtype, outline.shape, part)
            elif len(part):
                if place not in self._parted:
                    self._parted[place] = TensorDigest(outline.dtype, outline.shape)
                self._parted[place].update(part)

    def done(self) -> dict[_Place, str]:
        return {**self._whole, **{place: digest.hexdigest() for place, digest in self._parted.items()}}


def _end(outline: Outline) -> int:
    return outline.offset + outline.nbytes
