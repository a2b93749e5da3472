"""The checkpoint that every format returns.

It is a manifest over listed files, and reads of boxes out of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from ckpt_core import knobs
from ckpt_core.errors import UsageError
from ckpt_core.reading.boxes import FindChunk, read_box
from ckpt_core.reading.slabs import slabs
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.formats import FormatMatch, Part
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.tensors import Box, Chunk, TensorEntry, TensorInfo
from ckpt_core.schema.text import printable
from ckpt_core.storage.buffers import borrowed
from ckpt_core.storage.files.moments import one_moment

if TYPE_CHECKING:
    import torch

    from ckpt_core.schema.access import Progress
    from ckpt_core.schema.byte_consumers import Checksum
    from ckpt_core.schema.dtypes import DType


class StoredCheckpoint(Checkpoint):
    """A checkpoint over listed files.

    Args:
        files: The listing its chunks are stored in.
        match: The claim it was opened by.
        manifest: Its table.
        confirm: Proves, once and before the first tensor is read, what opening took on trust (where a zip's members
            start); it raises where that fails.
        find_chunk: Finds the elements of a chunk that is a file of its own, such as an item of a `.distcp` file;
            asked before its bytes are read. None where every chunk is raw.

    Attributes:
        progress: Told of every byte that `read` gives; None by default.
        checksums: Returns the checksums of its files, to be compared in the walk over all bytes.
        parts: The nested checkpoints that were joined with it; see `nested`.
    """

    progress: "Progress | None" = None
    checksums: "Callable[[], Iterable[Checksum]] | None" = None
    parts: "tuple[OpenPart, ...]" = ()

    def __init__(
        self,
        files: Files,
        match: FormatMatch,
        manifest: Manifest,
        *,
        confirm: Callable[[], None] | None = None,
        find_chunk: FindChunk | None = None,
    ) -> None:
        self.files = files
        self.location = files.location
        self.match = match
        self.manifest = manifest
        self._confirm = confirm
        self._find_chunk = find_chunk
        self._expecting = False

    def confirm(self) -> None:
        """Prove once what opening took on trust.

        The listing is told which checksums there are.
        """
        if self._confirm is not None:
            self._confirm()
            self._confirm = None
        if not self._expecting:
            known = self.checksums() if self.checksums is not None else ()
            sums = (one for checksum in known for one in checksum.sums())
            self.files.expect(sums, partial(tensors_in, self))
            self._expecting = True

    def find_chunk(self, chunk: Chunk) -> Chunk:
        """Return the chunk with its elements located.

        Itself where they need not be looked for.
        """
        return chunk if self._find_chunk is None else self._find_chunk(chunk)

    def replace_chunk_lookup(self, confirm: Callable[[], None], find_chunk: FindChunk) -> None:
        """Replace how chunks are confirmed and found.

        A joined checkpoint asks each of its parts.
        """
        self._confirm, self._find_chunk = confirm, find_chunk

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        table = self.component(component).tensors
        if name not in table:
            raise UsageError(f"{self.location}: no tensor {printable(name)} in {printable(component)}")
        entry = table[name]
        whole = box is None
        if box is None:
            box = ((0,) * len(entry.shape), entry.shape)
        sizes = box[1]
        if out is None:
            count = 1
            for size in sizes:
                count *= size
            out = memoryview(bytearray(entry.dtype.nbytes(count)))
        self.confirm()
        read_box(self.files, name, entry, box, out.cast("B"), find_chunk=self._find_chunk)
        if whole:
            self.prove(component, name)
        if self.progress is not None:
            self.progress.advance(out.nbytes)
        return out

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        entry = self.component(component).tensors[name]
        for data in read_slabs(self, component, name, entry):
            yield data, data

    def prove(self, component: str, name: str) -> None:
        self.confirm()
        chunks = self.component(component).tensors[name].chunks
        exact = [self.find_chunk(chunk) for chunk in chunks]
        self.files.prove([chunk.stored for chunk in exact if chunk.stored is not None])

    def finish(self) -> None:
        self.files.finish()

    def checked_by(self) -> dict[str, str]:
        return {"source_checked": self.files.checked_by()}

    def asset_files(self) -> Files:
        return self.files

    def check_unchanged(self, *, failed: bool = False, suspects: Iterable[str] = ()) -> None:
        self.files.check_unchanged(failed=failed, suspects=suspects)

    def identity(self) -> str:
        listed = [f"{path} {entry.size} {self.files.version(path)}" for path, entry in self.files.entries.items()]
        return "\n".join([self.match.format, *listed])

    def to_torch(
        self,
        component: str | None = None,
        *,
        names: Iterable[str] | None = None,
        mapped: bool = False,
        checked: bool = False,
        separate: bool = False,
        dtype: "torch.dtype | DType | str | None" = None,
    ) -> "dict[str, torch.Tensor]":
        """Return a component as torch tensors on the CPU, by name.

        Args:
            component: Its label; None for the model, or the only component.
            names: Which tensors; None for all.
            mapped: Map local files instead of reading them: nothing is copied until it is touched, and writing to a
                tensor changes this process's copy only. The file must not be shortened meanwhile. What is mapped is not
                compared with any checksum, since it is not read here: damage is passed on, but for `checked`.
            checked: Of what is mapped: read it once before, and compare it with every checksum that there is. What is
                not mapped is always compared.
            separate: Give each tensor memory of its own. Without it those of one file share one storage, so that
                `torch.save` of one writes all.
            dtype: Cast floating tensors of 16 bits and more on the way; None keeps each as it is stored. Scales of
                quantized tensors and an optimizer's counters are kept in any case, which is logged.

        Raises:
            CorruptError: A file ends early, elements are stored nowhere, or bytes do not match a checksum.
            ReplacedError: A file was replaced, changed or removed meanwhile. Of a mapped one that is told only of the
                time up to the return.
            UnsupportedFormatError: Torch has no such element type.
        """
        from ckpt_core.reading.torch.tensors import to_torch

        label = self.component(component).label
        with one_moment(self):
            return to_torch(self, label, names, mapped=mapped, checked=checked, separate=separate, dtype=dtype)

    def fill_torch(self, targets: "Iterable[tuple[torch.Tensor, str, str, Box | None]]") -> None:
        """Fill torch tensors in place by stored ones, or boxes of them.

        Args:
            targets: A tensor of the box's shape and of any type and device, the label of a component, a name in it, and
                the box; None for all of the stored tensor. What differs in type is cast.

        Raises:
            CorruptError: A file ends early, elements are stored nowhere, or bytes do not match a checksum.
            UnsupportedFormatError: Torch has no such element type.
        """
        from ckpt_core.reading.torch.fill import Fill, fill_tensors

        fill_tensors(self, [Fill(*target) for target in targets], done=lambda name: None)


def tensors_in(checkpoint: StoredCheckpoint, path: str, start: int, end: int) -> list[str]:
    """Return the names of tensors in a file's stretch.

    A tensor counts that has a part in it.
    """
    return [
        name
        for component in checkpoint.manifest.components
        for name, info in component.tensors.infos()
        if any(where == path and at < end and stop > start for where, at, stop in places(component, name, info))
    ]


def places(component: Component, name: str, info: TensorInfo) -> list[tuple[str, int, int]]:
    """Return a tensor's stretches of files.

    Each is a path with its start and end.
    """
    if info.path is not None:
        return [(info.path, info.offset, info.offset + info.nbytes)]
    stored = [chunk.stored for chunk in component.tensors[name].chunks if chunk.stored is not None]
    return [(held.path, held.offset, held.end) for held in stored]


def read_slabs(
    checkpoint: Checkpoint, component: str, name: str, entry: TensorEntry, *, limit: int | None = None
) -> Iterator[memoryview]:
    """Yield a tensor's bytes in row-major slabs.

    A slab has at most `limit` bytes; each is valid until the next is asked for.
    """
    most = limit or knobs.slab_bytes()
    with borrowed(min(most, entry.nbytes) if entry.dtype.itemsize else entry.nbytes) as buffer:
        for box in slabs(entry.shape, entry.dtype, limit=most):
            out = buffer[: entry.dtype.nbytes(prod(box[1]))]
            if len(out):
                checkpoint.read(component, name, box=box, out=out)
                yield out


@dataclass(frozen=True, slots=True)
class OpenPart:
    """A part that its owner opened.

    Its paths start at `base`: its root, or the folder of a part that is one file.

    Attributes:
        options: The options that it was opened with.
    """

    part: Part
    base: str
    checkpoint: StoredCheckpoint
    options: Mapping[str, Any] = field(default_factory=dict)
