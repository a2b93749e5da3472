"""Reads items that are no tensors as plain state.

Each is a small file of torch.save in a range.

Thousands of them often have the same bytes (a learning rate of every parameter): each content is read once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ckpt_core import ByteRange, Chunk, Files, Finding, State, TensorEntry, TensorRef, with_names
from ckpt_core.codecs import read_object, sums_in_file

if TYPE_CHECKING:
    from ckpt_core.codecs import TorchFile

_SMALL = 1 << 14
"""Bytes of an item that is compared with those read before; a number takes 1261."""

_READ_AT_ONCE = 1 << 20


@dataclass(slots=True)
class Items:
    """The content of items.

    The values by flat key, the tensors inside them by name, and what the reader noticed.
    """

    values: dict[str, State] = field(default_factory=dict)
    tensors: dict[str, TensorEntry] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def read_items(files: Files, stored: Mapping[str, ByteRange]) -> Items:
    """Read items by flat key, in the keys' order.

    Raises:
        UnsafeContentError: PK003, one would run code.
        CorruptError: One is not what torch.save writes, or its file is short of it or missing.
    """
    items = Items(values=dict.fromkeys(stored))
    known: dict[bytes, TorchFile] = {}
    for name, content in _contents(files, stored):
        file = known.get(content) if content else None
        if file is None:
            file = read_object(files, stored[name])
            items.findings += file.findings
            if content:
                known[content] = file
        if len(file.tensors):
            sums = (one for checksum in file.checksums() for one in checksum.sums())
            files.expect(sums_in_file(sums, stored[name]))
        items.values[name] = _value(items.tensors, name, file, stored[name])
    return items


def _contents(files: Files, stored: Mapping[str, ByteRange]) -> Iterator[tuple[str, bytes]]:
    """Yield every item with its bytes.

    Neighbours are read at once; a large one comes without bytes.
    """
    pending: list[str] = []
    held: ByteRange | None = None
    for name in sorted(stored, key=lambda name: (stored[name].path, stored[name].offset)):
        item = stored[name]
        if item.length > _SMALL:
            yield name, b""
            continue
        joins = held is not None and item.path == held.path and held.offset <= item.offset <= held.end
        if held is not None and joins and item.end - held.offset <= _READ_AT_ONCE:
            held = ByteRange(held.path, held.offset, max(held.end, item.end) - held.offset)
        else:
            yield from _slices(files, stored, pending, held)
            pending, held = [], item
        pending.append(name)
    yield from _slices(files, stored, pending, held)


def _slices(
    files: Files, stored: Mapping[str, ByteRange], names: Sequence[str], held: ByteRange | None
) -> Iterator[tuple[str, bytes]]:
    if held is None:
        return
    data = files.read(held.path, held.offset, held.length)
    for name in names:
        start = stored[name].offset - held.offset
        yield name, data[start : start + stored[name].length]


def _value(tensors: dict[str, TensorEntry], name: str, file: "TorchFile", stored: ByteRange) -> State:
    """Return the value of an item.

    Its tensors get names that start with the item's.
    """
    if not len(file.tensors):
        return file.root
    if isinstance(file.root, TensorRef):
        names = {file.root.name: name}
    else:
        names = {inner: f"{name}.{inner}" for inner in file.tensors}
    for inner, entry in file.tensors.items():
        alias = names[entry.alias_of] if entry.alias_of else None
        chunks = tuple(_moved(chunk, stored) for chunk in entry.chunks)
        tensors[names[inner]] = replace(entry, chunks=chunks, alias_of=alias)
    return with_names(file.root, names)


def _moved(chunk: Chunk, stored: ByteRange) -> Chunk:
    assert chunk.stored is not None
    return replace(chunk, stored=replace(chunk.stored, offset=chunk.stored.offset + stored.offset))
