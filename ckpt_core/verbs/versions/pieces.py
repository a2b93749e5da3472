"""Cuts the files of a checkpoint into pieces to share.

A tensor that lies whole and row-major somewhere is a piece, and so is one whose chunks are stretches of it, wherever
those lie: the same weights are the same piece in every format. Of another tensor each chunk is a piece. What is between
them, headers and whole files that no tensor lies in, is plain bytes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.tensors import ByteRange, Chunk, TensorEntry, is_row_major, stretch_of

BYTES = "bytes"
_LONGEST_GAP = 64 << 20
"""Bytes of a piece that is no tensor, at most."""


class Content(NamedTuple):
    """The content of a piece.

    Attributes:
        kind: What is digested before its bytes.
        ranges: Where the bytes lie in the checkpoint, in order.
    """

    kind: str
    ranges: tuple[ByteRange, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(one.length for one in self.ranges)


class Span(NamedTuple):
    """A stretch of a file: its content from `start` on."""

    offset: int
    length: int
    content: Content
    start: int

    @property
    def end(self) -> int:
        """The byte of the file that it ends before."""
        return self.offset + self.length


def spans_of(checkpoint: StoredCheckpoint) -> dict[str, list[Span]]:
    """Return what each file is, from its first byte to its last.

    CkptError where it cannot be proved where tensors lie.
    """
    checkpoint.confirm()
    found: dict[str, list[Span]] = {path: [] for path in checkpoint.files.entries}
    for component in checkpoint.manifest.components:
        for entry in component.tensors.values():
            if entry.alias_of is None:
                for path, span in _tensor(entry, [checkpoint.find_chunk(chunk) for chunk in entry.chunks]):
                    found[path].append(span)
    return {path: list(_filled(path, spans, checkpoint.files.size(path))) for path, spans in found.items()}


def _tensor(entry: TensorEntry, chunks: Sequence[Chunk]) -> Iterator[tuple[str, Span]]:
    """Yield the spans of a tensor, each with its file."""
    whole = _stretches(entry, chunks)
    if whole is None:
        for chunk in chunks:
            lying = _lying(entry, chunk)
            if lying is not None:
                content = Content(_kind(entry, chunk.sizes), (lying,))
                yield lying.path, Span(lying.offset, lying.length, content, 0)
        return
    content = Content(_kind(entry, entry.shape), tuple(lying for _, lying in whole))
    for start, lying in whole:
        yield lying.path, Span(lying.offset, lying.length, content, start)


def _stretches(entry: TensorEntry, chunks: Sequence[Chunk]) -> list[tuple[int, ByteRange]] | None:
    """Return the places of a tensor's bytes, in order.

    None where its chunks are not stretches of it, each once.
    """
    found = []
    for chunk in chunks:
        stretch = stretch_of((chunk.offsets, chunk.sizes), entry.shape)
        lying = _lying(entry, chunk)
        if stretch is None or lying is None or (len(chunks) > 1 and not entry.dtype.itemsize):
            return None
        found.append((entry.dtype.nbytes(stretch[0]), lying))
    found.sort(key=lambda one: one[0])
    end = 0
    for start, lying in found:
        if start != end:
            return None
        end += lying.length
    return found if end == entry.nbytes else None


def _lying(entry: TensorEntry, chunk: Chunk) -> ByteRange | None:
    """Return the place of a chunk's elements.

    None where they do not lie there raw, row-major and little-endian.
    """
    encoding, stored = chunk.encoding, chunk.stored
    plain = encoding.name == "raw" and (encoding.little_endian or entry.dtype.itemsize == 1)
    if stored is None or not plain or (chunk.strides is not None and not is_row_major(chunk.sizes, chunk.strides)):
        return None
    elements = 1
    for size in chunk.sizes:
        elements *= size
    return ByteRange(stored.path, stored.offset + chunk.at, entry.dtype.nbytes(elements))


def _kind(entry: TensorEntry, shape: Sequence[int]) -> str:
    return f"{entry.dtype.code} {list(shape)}"


def _filled(path: str, spans: list[Span], size: int) -> Iterator[Span]:
    """Yield the spans of a file, and what is between them.

    Of those that overlap the first.
    """
    at = 0
    for span in sorted(spans, key=lambda one: (one.offset, -one.length)):
        if span.length and span.offset >= at and span.end <= size:
            yield from _gap(path, at, span.offset)
            yield span
            at = span.end
    yield from _gap(path, at, size)


def _gap(path: str, start: int, end: int) -> Iterator[Span]:
    for at in range(start, end, _LONGEST_GAP):
        length = min(_LONGEST_GAP, end - at)
        yield Span(at, length, Content(BYTES, (ByteRange(path, at, length),)), 0)
