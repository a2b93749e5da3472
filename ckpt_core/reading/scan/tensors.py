"""Tensors in a walk over all bytes.

Each knows where its elements lie, what was seen of them, and what that says.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from ckpt_core.errors import CkptError
from ckpt_core.reading.checkpoints import StoredCheckpoint, read_slabs
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.tensors import ByteRange, Chunk, TensorEntry

if TYPE_CHECKING:
    from ckpt_core.reading.values import NonFinite
    from ckpt_core.schema.access import Progress


@dataclass(slots=True)
class SweptTensor:
    """A tensor to be looked at, with what was seen.

    `runs` are its runs of plain bytes, None where it has none.
    """

    kind: str
    label: str
    name: str
    entry: TensorEntry
    runs: Sequence[ByteRange] | None
    seen: "list[NonFinite]" = field(default_factory=list)
    error: CkptError | None = None
    looked_at: int = 0
    lock: Lock = field(default_factory=Lock)

    def consumers(self, values: bool, progress: "Progress | None") -> "Iterator[TensorConsumer]":
        for place in self.runs or ():
            yield TensorConsumer(self, place, self._counts() if values else None, progress)

    def stretches(self, values: bool, progress: "Progress | None") -> "Iterator[TensorStretch]":
        """Yield the byte consumers for a sample of the tensor."""
        for place in self.runs or ():
            yield TensorStretch(self, place, values, progress)

    def read_apart(self, checkpoint: StoredCheckpoint, values: bool) -> None:
        """Read the tensor through slabs.

        Strided, byte-swapped and otherwise encoded tensors are read so.
        """
        counts = self._counts() if values else None
        try:
            for data in read_slabs(checkpoint, self.label, self.name, self.entry):
                if counts is not None:
                    counts.update(data)
        except CkptError as error:
            self.error = error

    def look_at(self, data: memoryview) -> None:
        """Look at some elements of many; any worker may."""
        from ckpt_core.reading.values import NonFinite, total

        counts = NonFinite(self.entry.dtype)
        counts.update(data)
        with self.lock:
            self.seen = [total([counts, *self.seen])]
            self.looked_at += len(data)

    def findings(self, *, sampled: bool = False) -> Iterator[Finding]:
        """Yield what is wrong with the tensor or its values.

        The findings of a `sampled` tensor tell how many values there were.
        """
        if self.error is not None:
            finding = Finding.of_error(self.error)
            yield Finding(finding.code, finding.severity, finding.message, finding.path, self.name, finding.hint)
        elif self.seen:
            from ckpt_core.reading.scan.value_findings import findings_of_values
            from ckpt_core.reading.values import total

            path = self.entry.chunks[0].stored.path if self.entry.chunks and self.entry.chunks[0].stored else None
            partial = sampled and self.looked_at < self.entry.nbytes
            looked_at = self.looked_at // self.entry.dtype.itemsize if partial else None
            seen = total(self.seen)
            yield from findings_of_values(self.kind, self.name, self.entry, path, seen, looked_at=looked_at)

    def _counts(self) -> "NonFinite":
        from ckpt_core.reading.values import NonFinite

        self.seen.append(NonFinite(self.entry.dtype))
        return self.seen[-1]


class TensorConsumer:
    """A byte consumer of a run of a tensor's elements.

    They come in whatever order; pieces may end in the middle of one.
    """

    __slots__ = ("_counts", "_progress", "_rest", "_tensor", "end", "path", "start")

    def __init__(
        self, tensor: SweptTensor, place: ByteRange, counts: "NonFinite | None", progress: "Progress | None"
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


class TensorStretch:
    """A byte consumer of a sample of a tensor's elements.

    They come in any order.
    """

    __slots__ = ("_progress", "_tensor", "_values", "end", "path", "start", "width")

    def __init__(self, tensor: SweptTensor, place: ByteRange, values: bool, progress: "Progress | None") -> None:
        self.path, self.start, self.end = place.path, place.offset, place.end
        self.width = tensor.entry.dtype.itemsize
        self._tensor, self._values, self._progress = tensor, values, progress

    def see(self, data: memoryview) -> None:
        self.see_part(data)

    def see_part(self, data: memoryview) -> None:
        if self._progress is not None:
            self._progress.advance(len(data))
        if self._values:
            self._tensor.look_at(data)

    def fail(self, error: CkptError) -> None:
        self._tensor.error = error


def swept_tensors(checkpoint: StoredCheckpoint, leave_out: Set[str | None]) -> Iterator[SweptTensor]:
    """Yield every tensor with bytes of its own.

    Aliases are left out.
    """
    for component in checkpoint.manifest.components:
        for name, info in component.tensors.infos():
            if info.alias_of is not None or name in leave_out or not info.numel:
                continue
            entry = component.tensors[name]
            yield SweptTensor(component.kind, component.label, name, entry, _runs(checkpoint, entry))


def _runs(checkpoint: StoredCheckpoint, entry: TensorEntry) -> list[ByteRange] | None:
    """Return the elements as plain runs of bytes.

    Replicas count once; None where the elements do not lie so.
    """
    places = {}
    for chunk in entry.chunks:
        try:
            place = _run(checkpoint.find_chunk(chunk), entry)
        except CkptError:
            return None
        if place is None:
            return None
        places[chunk.offsets, chunk.sizes] = place
    return list(places.values())


def _run(chunk: Chunk, entry: TensorEntry) -> ByteRange | None:
    plain = chunk.encoding.name == "raw" and (chunk.encoding.little_endian or entry.dtype.bits <= 8)
    if chunk.stored is None or not plain or chunk.strides is not None or not entry.dtype.itemsize:
        return None
    elements = 1
    for size in chunk.sizes:
        elements *= size
    return ByteRange(chunk.stored.path, chunk.stored.offset + chunk.at, entry.dtype.nbytes(elements))
