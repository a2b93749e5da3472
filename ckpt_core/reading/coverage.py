"""Proves that chunks tile a tensor.

Every element is stored exactly once, replicas aside, and all of it inside its file.
"""

from collections.abc import Iterable, Iterator
from math import prod

from ckpt_core.reading.gaps import shown, uncovered
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.tensors import Box, Chunk, TensorEntry
from ckpt_core.schema.text import printable


def check_component(files: Files, component: Component) -> Iterator[Finding]:
    """Yield findings about where a component's tensors lie.

    The table alone is looked at.
    """
    sizes = {path: entry.size for path, entry in files.entries.items()}
    for name, info in component.tensors.infos():
        if info.path is None:
            yield from _check_entry(name, component.tensors[name], sizes)
        elif info.path not in sizes:
            yield _missing(name, info.path)
        elif info.offset + info.nbytes > sizes[info.path]:
            yield _beyond(name, info.path, info.offset + info.nbytes, sizes[info.path])


def _check_entry(name: str, entry: TensorEntry, sizes: dict[str, int]) -> Iterator[Finding]:
    for chunk in entry.chunks:
        stored = chunk.stored
        if stored is None:
            continue
        if stored.path not in sizes:
            yield _missing(name, stored.path, _part(entry, chunk))
        elif stored.end > sizes[stored.path]:
            yield _beyond(name, stored.path, stored.end, sizes[stored.path], _part(entry, chunk))
        if any(o < 0 or n < 0 or o + n > s for o, n, s in zip(chunk.offsets, chunk.sizes, entry.shape, strict=True)):
            yield _finding(
                "CV003", name, f"a chunk at {chunk.offsets} of size {chunk.sizes} leaves shape {entry.shape}"
            )
            return
    yield from _check_tiling(name, entry)


def _part(entry: TensorEntry, chunk: Chunk) -> str:
    """Return in words which part of its tensor a chunk is.

    "" stands for all of it.
    """
    return "" if chunk.sizes == entry.shape else shown((chunk.offsets, chunk.sizes))


def _check_tiling(name: str, entry: TensorEntry) -> Iterator[Finding]:
    boxes = {(chunk.offsets, chunk.sizes): chunk for chunk in entry.chunks if prod(chunk.sizes)}
    clash = _overlap(list(boxes.values()))
    if clash is not None:
        first, second = clash
        yield _finding(
            "CV004",
            name,
            f"chunks at {first.offsets} (size {first.sizes}) and {second.offsets} (size {second.sizes}) overlap",
        )
        return
    stored = sum(prod(sizes) for _, sizes in boxes)
    if stored < entry.numel:
        missing = f"{entry.numel - stored} of {entry.numel} elements are stored nowhere"
        yield _finding("CV005", name, missing + _which(entry, boxes))


def _which(entry: TensorEntry, boxes: Iterable[Box]) -> str:
    """Return where the elements are that nothing stores."""
    holes = uncovered(entry.shape, boxes)
    if not holes:
        return ""
    return f": {shown(holes[0])}" + (f" and {len(holes) - 1} more boxes" if len(holes) > 1 else "")


def _overlap(chunks: list[Chunk]) -> tuple[Chunk, Chunk] | None:
    """Return two chunks that share elements, or None.

    A sweep along the dimension that is cut most: near-linear for shards.
    """
    if len(chunks) < 2 or not chunks[0].sizes:
        return None
    axis = max(range(len(chunks[0].sizes)), key=lambda axis: len({chunk.offsets[axis] for chunk in chunks}))
    chunks.sort(key=lambda chunk: chunk.offsets[axis])
    active: list[Chunk] = []
    for chunk in chunks:
        start = chunk.offsets[axis]
        active = [other for other in active if other.offsets[axis] + other.sizes[axis] > start]
        for other in active:
            if _intersects(other, chunk):
                return other, chunk
        active.append(chunk)
    return None


def _intersects(first: Chunk, second: Chunk) -> bool:
    return all(
        a < b + m and b < a + n
        for a, n, b, m in zip(first.offsets, first.sizes, second.offsets, second.sizes, strict=True)
    )


def _missing(name: str, path: str, part: str = "") -> Finding:
    return Finding(
        "CV001",
        Severity.ERROR,
        f"{printable(path)}: tensor {printable(name)}{part} is stored in this file, and the file is missing",
        path,
        name,
        "restore the file from where the checkpoint was copied",
    )


def _beyond(name: str, path: str, end: int, size: int, part: str = "") -> Finding:
    return Finding(
        "CV002",
        Severity.ERROR,
        f"{printable(path)}: tensor {printable(name)}{part} ends at byte {end}, the file has {size} (truncated?)",
        path,
        name,
        "copy the file again",
    )


def _finding(code: str, name: str, message: str) -> Finding:
    return Finding(code, Severity.ERROR, f"{printable(name)}: {message}", None, name)
