"""Compares elements that several ranks stored.

Equal boxes are taken for replicas, and here their bytes are compared.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ckpt_core import (
    Chunk,
    CkptError,
    Component,
    Confidence,
    Files,
    FormatMatch,
    Manifest,
    StoredCheckpoint,
    TensorEntry,
    TensorTable,
)

_TWO_REPLICAS = FormatMatch("replicas", Confidence.CERTAIN, "two replicas of one box")


def differing_copies(
    files: Files, components: Iterable[Component], *, find_chunk: Callable[[Chunk], Chunk] | None = None
) -> Iterator[tuple[str, Chunk, Chunk]]:
    """Yield each tensor with differing replicas of a box.

    The two chunks are the first that hold different elements.

    Every copy is read once, the first of each box as often as there are others. A copy that cannot be read is another
    check's matter.

    Args:
        files: Where the chunks are stored.
        components: Whose tensors are compared.
        find_chunk: Finds the elements of chunks that are not raw; None where all are.
    """
    for component in components:
        for name, info in component.tensors.infos():
            if info.path is None and info.alias_of is None:
                yield from _differing(files, name, component.tensors[name], find_chunk)


def _differing(
    files: Files, name: str, entry: TensorEntry, find_chunk: Callable[[Chunk], Chunk] | None
) -> Iterator[tuple[str, Chunk, Chunk]]:
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], Chunk] = {}
    for chunk in entry.chunks:
        one = first.setdefault((chunk.offsets, chunk.sizes), chunk)
        if one.stored != chunk.stored:
            tables = [_alone(name, entry, replica) for replica in (one, chunk)]
            if not _same(files, name, tables, find_chunk):
                yield name, one, chunk
                return


def _same(files: Files, name: str, tables: list[TensorTable], find_chunk: Callable[[Chunk], Chunk] | None) -> bool:
    both = tuple(Component(kind, table) for kind, table in zip(("one", "other"), tables, strict=True))
    pair = StoredCheckpoint(files, _TWO_REPLICAS, Manifest(both), find_chunk=find_chunk)
    try:
        slabs = zip(pair.stream("one", name), pair.stream("other", name), strict=True)
        return all(first == second for (first, _), (second, _) in slabs)
    except CkptError:
        return True


def _alone(name: str, entry: TensorEntry, chunk: Chunk) -> TensorTable:
    whole = replace(chunk, offsets=(0,) * len(chunk.sizes))
    return TensorTable.of({name: TensorEntry(entry.dtype, chunk.sizes, (whole,))})
