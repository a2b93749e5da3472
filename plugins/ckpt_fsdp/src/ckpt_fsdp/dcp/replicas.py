"""Elements that several ranks stored, each with a metadata of its own: equal boxes are copies, and are compared."""

from collections.abc import Iterator
from dataclasses import replace

from ckpt_core import (
    Chunk,
    CkptError,
    Component,
    Confidence,
    Files,
    Finding,
    FormatMatch,
    Manifest,
    Severity,
    StoredCheckpoint,
    TensorEntry,
    TensorTable,
    printable,
)
from ckpt_core.codecs.torch_items import settler


def check_replicas(files: Files, components: tuple[Component, ...]) -> Iterator[Finding]:
    """DC012 for each tensor of which two ranks stored different elements of one box."""
    for component in components:
        for name, entry in component.tensors.items():
            for one, other in _copies(entry):
                if not _same(files, name, entry, one, other):
                    yield _differs(name, one, other)
                    break


def _copies(entry: TensorEntry) -> Iterator[tuple[Chunk, Chunk]]:
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], Chunk] = {}
    for chunk in entry.chunks:
        one = first.setdefault((chunk.offsets, chunk.sizes), chunk)
        if one.stored != chunk.stored:
            yield one, chunk


def _same(files: Files, name: str, entry: TensorEntry, one: Chunk, other: Chunk) -> bool:
    """Whether two chunks of one box hold the same elements; one that cannot be read is another check's matter."""
    both = [Component(kind, _alone(name, entry, chunk)) for kind, chunk in (("one", one), ("other", other))]
    match = FormatMatch("dcp", Confidence.CERTAIN, "two copies")
    pair = StoredCheckpoint(files, match, Manifest(tuple(both)), settle_chunk=settler(files))
    try:
        slabs = zip(pair.stream("one", name), pair.stream("other", name), strict=True)
        return all(first == second for (first, _), (second, _) in slabs)
    except CkptError:
        return True


def _alone(name: str, entry: TensorEntry, chunk: Chunk) -> TensorTable:
    whole = replace(chunk, offsets=(0,) * len(chunk.sizes))
    return TensorTable.of({name: TensorEntry(entry.dtype, chunk.sizes, (whole,))})


def _differs(name: str, one: Chunk, other: Chunk) -> Finding:
    assert one.stored is not None and other.stored is not None
    paths = f"{printable(one.stored.path)} and {printable(other.stored.path)}"
    message = f"{printable(name)}: {paths} hold different elements of one part, where copies should be"
    hint = "one of the files is damaged, or of another save"
    return Finding("DC012", Severity.ERROR, message, other.stored.path, name, hint)
