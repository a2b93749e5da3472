"""Every byte of a checkpoint read once: its tensors, the digests of its files and their checksums, all from one walk.

Memory: one block of 1 MiB a worker; two slabs more for tensors whose elements are not one plain run of bytes.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckpt_core.errors import CkptError
from ckpt_core.reading.checkpoints import StoredCheckpoint, read_slabs
from ckpt_core.reading.walk import OnBlock, Watch, walk
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.tensors import ByteRange, Chunk, TensorEntry
from ckpt_core.storage.workers import run, stretches

if TYPE_CHECKING:
    from ckpt_core.reading.values import NonFinite
    from ckpt_core.schema.progress import Progress


def sweep(
    checkpoint: StoredCheckpoint,
    *,
    values: bool,
    leave_out: Set[str | None] = frozenset(),
    whole: Sequence[str] = (),
    on_block: OnBlock | None = None,
) -> Iterator[Finding]:
    """What reading every tensor shows: reads that fail, checksums that do not hold, and `values` of which to beware.

    Args:
        checkpoint: A checkpoint that is settled.
        values: Look at the values of tensors, too.
        leave_out: Names of tensors that cannot be read.
        whole: Files of which `on_block` is to be told every block, in the same pass.
        on_block: See `walk`.
    """
    tensors = list(_tensors(checkpoint, leave_out))
    watches = [watch for tensor in tensors for watch in tensor.watches(values, checkpoint.progress)]
    sums = [] if checkpoint.checksums is None else list(checkpoint.checksums())
    yield from read_all(checkpoint.files, [*watches, *sums], whole=whole, on_block=on_block)
    for found in sums:
        yield from found.findings()
    apart = [tensor for tensor in tensors if tensor.runs is None]
    shares = stretches(apart, [tensor.entry.nbytes for tensor in apart])
    run(lambda share: _read_apart(checkpoint, share, values), shares)
    for tensor in tensors:
        yield from tensor.findings()


def _read_apart(checkpoint: StoredCheckpoint, share: "Sequence[_Tensor]", values: bool) -> None:
    for tensor in share:
        tensor.read_apart(checkpoint, values)


def read_all(
    files: Files, watches: Iterable[Watch], *, whole: Sequence[str], on_block: OnBlock | None
) -> Iterator[Finding]:
    """Walk over the files; what cannot be read and is not said by a watch."""
    for error in walk(files, watches, whole=whole, on_block=on_block):
        yield Finding.of_error(error)


@dataclass(slots=True)
class _Tensor:
    """A tensor to be looked at: its runs of plain bytes, None where it has none, and what was seen."""

    kind: str
    label: str
    name: str
    entry: TensorEntry
    runs: Sequence[ByteRange] | None
    seen: "list[NonFinite]" = field(default_factory=list)
    error: CkptError | None = None

    def watches(self, values: bool, progress: "Progress | None") -> "Iterator[_TensorWatch]":
        for place in self.runs or ():
            yield _TensorWatch(self, place, self._counts() if values else None, progress)

    def read_apart(self, checkpoint: StoredCheckpoint, values: bool) -> None:
        """Read the tensor through slabs: strided, byte-swapped and otherwise encoded ones."""
        counts = self._counts() if values else None
        try:
            for data in read_slabs(checkpoint, self.label, self.name, self.entry):
                if counts is not None:
                    counts.update(data)
        except CkptError as error:
            self.error = error

    def findings(self) -> Iterator[Finding]:
        if self.error is not None:
            found = Finding.of_error(self.error)
            yield Finding(found.code, found.severity, found.message, found.path, self.name, found.hint)
        elif self.seen:
            from ckpt_core.reading.value_findings import findings_of_values
            from ckpt_core.reading.values import total

            path = self.entry.chunks[0].stored.path if self.entry.chunks and self.entry.chunks[0].stored else None
            yield from findings_of_values(self.kind, self.name, self.entry, path, total(self.seen))

    def _counts(self) -> "NonFinite":
        from ckpt_core.reading.values import NonFinite

        self.seen.append(NonFinite(self.entry.dtype))
        return self.seen[-1]


class _TensorWatch:
    """A run of a tensor's elements, in whatever order; pieces may end in the middle of one."""

    __slots__ = ("_counts", "_progress", "_rest", "_tensor", "end", "path", "start")

    def __init__(
        self, tensor: _Tensor, place: ByteRange, counts: "NonFinite | None", progress: "Progress | None"
    ) -> None:
        self.path, self.start, self.end = place.path, place.offset, place.end
        self._tensor, self._counts, self._progress = tensor, counts, progress
        self._rest = b""

    def see(self, data: memoryview) -> None:
        if self._progress is not None:
            self._progress.advance(len(data))
        if self._counts is None:
            return
        width = self._tensor.entry.dtype.itemsize
        if self._rest:
            missing = width - len(self._rest)
            self._rest += bytes(data[:missing])
            data = data[missing:]
            if len(self._rest) == width:
                self._counts.update(memoryview(self._rest))
                self._rest = b""
        whole = len(data) // width * width
        if whole:
            self._counts.update(data[:whole])
        if whole < len(data):
            self._rest = bytes(data[whole:])

    def fail(self, error: CkptError) -> None:
        self._tensor.error = error


def _tensors(checkpoint: StoredCheckpoint, leave_out: Set[str | None]) -> Iterator[_Tensor]:
    """Every tensor with bytes of its own; aliases are left out."""
    for component in checkpoint.manifest.components:
        for name, outline in component.tensors.outlines():
            if outline.alias_of is not None or name in leave_out or not outline.numel:
                continue
            entry = component.tensors[name]
            yield _Tensor(component.kind, component.label, name, entry, _runs(checkpoint, entry))


def _runs(checkpoint: StoredCheckpoint, entry: TensorEntry) -> list[ByteRange] | None:
    """Where the elements lie as plain runs of bytes, replicas once; None where they do not."""
    found = {}
    for chunk in entry.chunks:
        try:
            place = _run(checkpoint.settle_chunk(chunk), entry)
        except CkptError:
            return None
        if place is None:
            return None
        found[chunk.offsets, chunk.sizes] = place
    return list(found.values())


def _run(chunk: Chunk, entry: TensorEntry) -> ByteRange | None:
    plain = chunk.encoding.name == "raw" and (chunk.encoding.little_endian or entry.dtype.bits <= 8)
    if chunk.stored is None or not plain or chunk.strides is not None or not entry.dtype.itemsize:
        return None
    elements = 1
    for size in chunk.sizes:
        elements *= size
    return ByteRange(chunk.stored.path, chunk.stored.offset + chunk.at, entry.dtype.nbytes(elements))
