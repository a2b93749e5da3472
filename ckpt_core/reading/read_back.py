"""Reads a checkpoint back in one pass, with digests.

They are of every block of its files and of every tensor in them.

This is what a seal records and what proves a conversion: the tensors are found through the reader of the format that
was written, not through the plan that wrote them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ckpt_core import knobs
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.digests import digest_tensor
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.side_files.seals import FileSeal
from ckpt_core.schema.tensors import TensorEntry, TensorInfo, info_of
from ckpt_core.storage.digests import BLOCK, TensorDigest, block_digest, of_small_tensor, of_tensors, seal_of
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.workers import WORTH_A_WORKER, run, split, stretches

T = TypeVar("T")
R = TypeVar("R")

_Place = tuple[int, str, tuple[int, ...]]
"""Offset, type and shape: two names at one place are one tensor."""

_Tensor = tuple[_Place, TensorInfo, list[TensorKey]]
"""A tensor of a file, and all names it has."""


@dataclass(slots=True)
class ReadBack:
    """The seal of each file, and the digest of each tensor."""

    files: dict[str, FileSeal] = field(default_factory=dict)
    tensors: dict[TensorKey, str] = field(default_factory=dict)

    def by_component(self) -> dict[str, dict[str, str]]:
        """Return the digests of tensors by label, then by name."""
        result: dict[str, dict[str, str]] = {}
        for (label, name), digest in self.tensors.items():
            result.setdefault(label, {})[name] = digest
        return result

    def components(self) -> dict[str, str]:
        """Return the digest of each component with tensors."""
        return {label: of_tensors(names) for label, names in self.by_component().items()}


def read_back(checkpoint: StoredCheckpoint, *, ranks: Ranks = ALONE) -> ReadBack:
    """Read every file of a checkpoint once, in blocks.

    Blocks have 1 MiB; tensors that lie in several chunks are read once more.

    Args:
        checkpoint: What is read.
        ranks: The processes that share the reading, all of which call this.

    Raises:
        CkptError: A read fails, here or at another rank.
    """
    checkpoint.confirm()
    plain, apart = _places(checkpoint)
    regions = [region for path, tensors in plain.items() for region in _regions(checkpoint, path, tensors, ranks)]
    mine = ranks.share(regions, [region.end - region.start for region in regions])
    seen = _in_shares(lambda region: _read_region(checkpoint, region, ranks), mine, [r.end - r.start for r in mine])
    own = ranks.share(apart, [entry.nbytes for _, entry in apart])
    digests = _in_shares(lambda item: _digest(checkpoint, item, ranks), own, [entry.nbytes for _, entry in own])
    return _joined(checkpoint, ranks.exchange([seen, digests]) if ranks.world > 1 else [[seen, digests]])


def _in_shares(work: Callable[[T], R], items: Sequence[T], sizes: Sequence[int]) -> list[R]:
    """Return the result of `work` for each item.

    Several workers do it.
    """
    return [
        made for share in run(lambda share: [work(one) for one in share], stretches(items, sizes)) for made in share
    ]


def _places(checkpoint: StoredCheckpoint) -> tuple[dict[str, list[_Tensor]], list[tuple[TensorKey, TensorEntry]]]:
    """Return the plain tensors by file, and the others.

    A plain one is one run of bytes in its file.
    """
    plain: dict[str, dict[_Place, _Tensor]] = {path: {} for path in checkpoint.files.entries}
    apart: list[tuple[TensorKey, TensorEntry]] = []
    for component in checkpoint.manifest.components:
        for name, listed in component.tensors.infos():
            key, info = (component.label, name), listed
            if listed.path is None:
                entry = component.tensors[name]
                info = _located_info(checkpoint, entry)
            if info.path is None:
                apart.append((key, entry))
                continue
            place = (info.offset, info.dtype.code, info.shape)
            known = plain[info.path].setdefault(place, (place, info, []))
            known[2].append(key)
    return {path: sorted(by_place.values(), key=lambda one: one[0]) for path, by_place in plain.items()}, apart


def _located_info(checkpoint: StoredCheckpoint, entry: TensorEntry) -> TensorInfo:
    """Return the info of a tensor with its place found.

    A single chunk must hold its elements.
    """
    if len(entry.chunks) == 1:
        entry = replace(entry, chunks=(checkpoint.find_chunk(entry.chunks[0]),))
    return info_of(entry)


@dataclass(slots=True)
class _Region:
    """A stretch of a file for one worker.

    It goes from the start of a tensor to that of another, with the tensors in it.
    """

    path: str
    size: int
    start: int
    end: int
    tensors: list[_Tensor]


def _regions(checkpoint: StoredCheckpoint, path: str, tensors: list[_Tensor], ranks: Ranks) -> list[_Region]:
    """Return regions of a file with about equal bytes.

    They end where no tensor is cut; there is one where tensors overlap each other.
    """
    size, sizes = checkpoint.files.size(path), [info.nbytes for _, info, _ in tensors]
    ends = [_end(info) for _, info, _ in tensors]
    apart = all(end <= following[1].offset for end, following in zip(ends, tensors[1:], strict=False))
    most = min(knobs.workers() * ranks.world, max(sum(sizes) // WORTH_A_WORKER, 1))
    shares = split(tensors, sizes, most) if apart else [tensors]
    starts = [0, *(share[0][1].offset for share in shares[1:])]
    stops = [*starts[1:], size]
    return [_Region(path, size, a, b, share) for a, b, share in zip(starts, stops, shares or [[]], strict=True)]


_Seen = list[Any]
"""Path, number of the first block, digests of the blocks in hexadecimal; label, name and digest of each tensor."""


def _read_region(checkpoint: StoredCheckpoint, region: _Region, ranks: Ranks) -> _Seen:
    """Return the digests of a region's blocks and tensors.

    Its blocks are those that start in it. A block is read to its end, or the tensors'.
    """
    buffer = memoryview(bytearray(min(BLOCK, region.size)))
    blocks: list[bytes] = []
    tensors = _Digests(region.tensors)
    for number in range(region.start // BLOCK, -(-region.end // BLOCK)):
        ranks.check()
        begin, end = number * BLOCK, min((number + 1) * BLOCK, region.size)
        data = buffer[: end - begin]
        checkpoint.files.read_into(region.path, begin, data)
        if checkpoint.progress is not None:
            checkpoint.progress.advance(len(data))
        if begin >= region.start:
            blocks.append(block_digest(data))
        tensors.update(data, begin, end)
    digests = tensors.done()
    named = [[*key, digests[place]] for place, _, keys in region.tensors for key in keys]
    return [region.path, -(-region.start // BLOCK), b"".join(blocks).hex(), named]


def _digest(checkpoint: StoredCheckpoint, item: tuple[TensorKey, TensorEntry], ranks: Ranks) -> list[str]:
    ranks.check()
    (label, name), entry = item
    return [label, name, digest_tensor(checkpoint, label, name, entry)]


def _joined(checkpoint: StoredCheckpoint, shares: Sequence[list[Any]]) -> ReadBack:
    """Join the results that every rank has read."""
    result = ReadBack()
    blocks: dict[str, list[tuple[int, str]]] = {path: [] for path in checkpoint.files.entries}
    for regions, tensors in shares:
        for path, first, digests, named in regions:
            blocks[path].append((first, digests))
            result.tensors.update({(label, name): digest for label, name, digest in named})
        result.tensors.update({(label, name): digest for label, name, digest in tensors})
    for path, parts in blocks.items():
        result.files[path] = seal_of(checkpoint.files.size(path), bytes.fromhex("".join(d for _, d in sorted(parts))))
    return result


class _Digests:
    """The digests of tensors, fed with blocks of their file.

    The blocks come in order, and `tensors` are sorted by offset.
    """

    def __init__(self, tensors: Sequence[_Tensor]) -> None:
        self._tensors = tensors
        self._next = 0
        self._whole = {place: of_small_tensor(o.dtype, o.shape, b"") for place, o, _ in tensors if not o.nbytes}
        self._parted: dict[_Place, TensorDigest] = {}

    def update(self, data: memoryview, begin: int, end: int) -> None:
        """Take in the bytes from `begin` to `end` of the file."""
        while self._next < len(self._tensors) and _end(self._tensors[self._next][1]) <= begin:
            self._next += 1
        for index in range(self._next, len(self._tensors)):
            place, info, _ = self._tensors[index]
            if info.offset >= end:
                break
            first, last = max(info.offset, begin), min(_end(info), end)
            part = data[first - begin : max(last - begin, 0)]
            if len(part) == info.nbytes:
                self._whole[place] = of_small_tensor(info.dtype, info.shape, part)
            elif len(part):
                if place not in self._parted:
                    self._parted[place] = TensorDigest(info.dtype, info.shape)
                self._parted[place].update(part)

    def done(self) -> dict[_Place, str]:
        return {**self._whole, **{place: digest.hexdigest() for place, digest in self._parted.items()}}


def _end(info: TensorInfo) -> int:
    return info.offset + info.nbytes
