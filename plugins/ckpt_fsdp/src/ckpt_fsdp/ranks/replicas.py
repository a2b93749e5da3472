"""Elements that several ranks stored: equal boxes are taken for replicas, and their bytes compared when asked."""

from collections.abc import Iterator
from dataclasses import replace

from ckpt_core import (
    Checkpoint,
    Chunk,
    CkptError,
    Component,
    Depth,
    Finding,
    Manifest,
    Severity,
    StoredCheckpoint,
    TensorEntry,
    TensorTable,
    VerifyRequest,
    printable,
)


def check_replicas(checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """RK009 for each tensor of which two ranks stored different elements; from the bytes depth on."""
    if not isinstance(checkpoint, StoredCheckpoint) or request.depth < Depth.BYTES:
        return
    for component in checkpoint.manifest.components:
        for name, outline in component.tensors.outlines():
            if outline.path is None and outline.alias_of is None:
                yield from _compare(checkpoint, name, component.tensors[name])


def _compare(checkpoint: StoredCheckpoint, name: str, entry: TensorEntry) -> Iterator[Finding]:
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], Chunk] = {}
    for chunk in entry.chunks:
        one = first.setdefault((chunk.offsets, chunk.sizes), chunk)
        if one is not chunk and not _same(checkpoint, name, entry, one, chunk):
            yield _differs(name, one, chunk)
            return


def _same(checkpoint: StoredCheckpoint, name: str, entry: TensorEntry, one: Chunk, other: Chunk) -> bool:
    """Whether two chunks of one box hold the same bytes; a chunk that cannot be read is another check's matter."""
    both = [Component(kind, _alone(name, entry, chunk)) for kind, chunk in (("one", one), ("other", other))]
    pair = StoredCheckpoint(checkpoint.files, checkpoint.match, Manifest(tuple(both)))
    try:
        slabs = zip(pair.stream("one", name), pair.stream("other", name), strict=True)
        return all(first == second for (first, _), (second, _) in slabs)
    except CkptError:
        return True


def _alone(name: str, entry: TensorEntry, chunk: Chunk) -> TensorTable:
    whole = replace(chunk, offsets=(0,) * len(chunk.sizes))
    return TensorTable.of({name: TensorEntry(entry.dtype, chunk.sizes, (whole,))})


def _differs(name: str, one: Chunk, other: Chunk) -> Finding:
    path = other.stored.path if other.stored is not None else None
    message = f"{printable(name)}: ranks {one.owner} and {other.owner} stored different elements where copies should be"
    return Finding("RK009", Severity.ERROR, message, path, name, "one of the files is damaged, or of another save")
