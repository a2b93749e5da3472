"""Stores the new pieces of a checkpoint, in one pass.

Memory: a pack and a piece, 64 MiB each at most. What is larger is digested first, and read once more if it is new.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core import knobs
from ckpt_core.errors import ReplacedError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.side_files.reserved_names import BLOCKS, DIRECTORY_SEAL, FILE_SUFFIX
from ckpt_core.schema.side_files.seals import FileSeal, Seal, pack
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.text import printable
from ckpt_core.storage.digests import BLOCK, block_digest, seal_of
from ckpt_core.storage.versions.publication import SMALL, Publication
from ckpt_core.storage.versions.table import Piece, Segment, content_of, encode_table
from ckpt_core.verbs.versions.pieces import Content, spans_of
from ckpt_core.version import __version__

if TYPE_CHECKING:
    from ckpt_core.schema.access.files import Files
    from ckpt_core.schema.access.targets import Progress

_IN_MEMORY = 64 << 20
"""Bytes of a piece that is read once, kept, and put if it is new."""


class Stored:
    """A checkpoint as pieces of a store.

    Args:
        checkpoint: What is published.
        publication: What stores it.
        progress: Told of the bytes read.

    Attributes:
        files: Size and segments of each file.
        pieces: What the segments count.
        blocks: The seal of each file, made as it was read.
    """

    def __init__(
        self, checkpoint: StoredCheckpoint, publication: Publication, progress: "Progress | None" = None
    ) -> None:
        self.files: dict[str, tuple[int, list[Segment]]] = {}
        self.pieces: list[Piece] = []
        self.blocks: dict[str, FileSeal] = {}
        self._checkpoint, self._publication, self._progress = checkpoint, publication, progress
        self._listing: Files = checkpoint.files
        self._numbers: dict[Content, int] = {}
        self._by_digest: dict[bytes, int] = {}
        self._memory = memoryview(bytearray(8 * knobs.slab_bytes()))

    def store(self) -> None:
        """Read every file, and store the pieces that are new."""
        for path, spans in spans_of(self._checkpoint).items():
            blocks, segments = _Blocks(), []
            for span in spans:
                number = self._numbers.get(span.content)
                if number is None:
                    number = self._numbers[span.content] = self._piece(span.content, blocks)
                    read = len(span.content.ranges) == 1
                else:
                    read = False
                if not read:
                    for slab in self._slabs(ByteRange(path, span.offset, span.length)):
                        blocks.update(slab)
                segments.append(Segment(number, span.start, span.length))
                if self._progress is not None:
                    self._progress.advance(span.length)
            self.files[path] = (self._listing.size(path), segments)
            self.blocks[path] = blocks.sealed()
        self._publication.flush()

    @property
    def content(self) -> str:
        """The SHA-256 of what the files are, wherever pieces lie."""
        return content_of(self.files, self.pieces)

    def table(self, seal: Seal) -> bytes:
        """Return the bytes of the version's table, with its seal."""
        beside = _beside(self._listing, seal)
        objects = dict.fromkeys(piece.stored.path for piece in self.pieces)
        sizes = {key: self._publication.size_of(key) for key in objects}
        return encode_table(self.files, self.pieces, sizes, beside)

    def _piece(self, content: Content, blocks: "_Blocks") -> int:
        """Store a content unless it is there; return its number."""
        seen = blocks.update if len(content.ranges) == 1 else _unseen
        size, held = content.size, None
        if size <= _IN_MEMORY:
            held = self._held(content)
            seen(held)
            digest = _digest_of(content.kind, iter([held]))
        else:
            digest = _digest_of(content.kind, self._all(content, seen))
        known = self._by_digest.get(digest)
        if known is not None:
            return known
        stored = self._publication.find(digest, size)
        if stored is None and held is not None and size <= SMALL:
            stored = self._publication.put_small(digest, held)
        elif stored is None:
            stored = self._publication.put_large(digest, size, lambda: self._again(content, digest, held))
        self.pieces.append(Piece(content.kind, digest, stored))
        self._by_digest[digest] = len(self.pieces) - 1
        return len(self.pieces) - 1

    def _held(self, content: Content) -> memoryview:
        size, at = content.size, 0
        if len(self._memory) < size:
            self._memory = memoryview(bytearray(size))
        held = self._memory[:size]
        for one in content.ranges:
            self._listing.read_into(one.path, one.offset, held[at : at + one.length])
            at += one.length
        return held

    def _again(self, content: Content, digest: bytes, held: memoryview | None) -> Iterator[memoryview]:
        """Yield a content that is put.

        ReplacedError where it is not what was digested.
        """
        if held is not None:
            yield held
            return
        again = hashlib.sha256(_before(content.kind))
        yield from self._all(content, again.update)
        if again.digest() != digest:
            path = content.ranges[0].path
            raise ReplacedError(f"{printable(path)}: was changed while it was read; run it again", code="MO001")

    def _all(self, content: Content, seen: Callable[[memoryview], None]) -> Iterator[memoryview]:
        for one in content.ranges:
            for slab in self._slabs(one):
                seen(slab)
                yield slab

    def _slabs(self, one: ByteRange) -> Iterator[memoryview]:
        slab = memoryview(bytearray(min(8 * knobs.slab_bytes(), one.length)))
        for at in range(0, one.length, len(slab) or 1):
            part = slab[: min(len(slab), one.length - at)]
            self._listing.read_into(one.path, one.offset + at, part)
            yield part


def _beside(files: "Files", seal: Seal) -> dict[str, bytes]:
    """Return the small files of a seal, as they lie beside files."""
    if files.location.kind is LocationKind.FILE:
        return {f"{next(iter(files.entries))}{FILE_SUFFIX}": pack(seal, apart=False)[0]}
    text, blocks = pack(seal, apart=True)
    return {DIRECTORY_SEAL: text, BLOCKS: blocks}


def whole_seal(carried: Seal | None, format: str, blocks: Mapping[str, FileSeal]) -> Seal:
    """Return a seal of all files.

    What the carried one lacks is by what was read.
    """
    made = {"ckpt_core": __version__, "sealed": "when it was published"}
    seal = Seal(format, {}, provenance=made) if carried is None else carried
    return replace(seal, files={**blocks, **seal.files})


class _Blocks:
    """Digests a file block by block, as its bytes come in order."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._rest = bytearray()
        self._size = 0

    def update(self, data: memoryview) -> None:
        self._size += len(data)
        at = 0
        if self._rest:
            at = min(BLOCK - len(self._rest), len(data))
            self._rest += data[:at]
            if len(self._rest) < BLOCK:
                return
            self._digests += block_digest(bytes(self._rest))
            self._rest = bytearray()
        while len(data) - at >= BLOCK:
            self._digests += block_digest(data[at : at + BLOCK])
            at += BLOCK
        self._rest += data[at:]

    def sealed(self) -> FileSeal:
        """Return the digests of all that came."""
        if self._rest:
            self._digests += block_digest(bytes(self._rest))
            self._rest = bytearray()
        return seal_of(self._size, bytes(self._digests))


def _unseen(_: memoryview) -> None:
    pass


def _digest_of(kind: str, slabs: Iterator[memoryview]) -> bytes:
    digest = hashlib.sha256(_before(kind))
    for slab in slabs:
        digest.update(slab)
    return digest.digest()


def _before(kind: str) -> bytes:
    return f"{kind}\n".encode()
