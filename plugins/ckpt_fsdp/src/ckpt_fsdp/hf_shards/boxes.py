"""Reads the boxes of every tensor from shard headers.

Their sizes are shapes, their offsets are metadata.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from operator import add
from typing import NamedTuple

from ckpt_core import (
    ByteRange,
    Chunk,
    CorruptError,
    DType,
    Files,
    Finding,
    FormatError,
    TensorEntry,
    TensorInfo,
    TensorTable,
    printable,
)
from ckpt_core.codecs import (
    DuplicateKeyError,
    NotAnObjectError,
    SafetensorsFile,
    parse_object,
    read_safetensors,
    without_collection,
)
from ckpt_fsdp.hf_shards.detection import SHARDING
from ckpt_fsdp.hf_shards.names import ShardName

_LARGEST = 1 << 63


class StoredBox(NamedTuple):
    """A box of a tensor in a shard.

    `offsets` and `sizes` are in elements, `offset` is a byte of the file; the rank counts from 1.

    A tuple, since there are as many as tensors times ranks.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    path: str
    offset: int
    rank: int


@dataclass(slots=True)
class Sharded:
    """A tensor as its boxes have it.

    `shape` reaches as far as they do, or as something else proves that it does.
    """

    dtype: DType
    shape: tuple[int, ...]
    boxes: list[StoredBox]


@dataclass(slots=True)
class Shards:
    """The content of the shards' headers.

    Attributes:
        names: Every shard that is there.
        tensors: By name, in the order of the first shard that has them.
        metadata: What the headers say besides.
        errors: Shards that could not be read, or contradict another.
    """

    names: Sequence[ShardName]
    tensors: dict[str, Sharded] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    errors: list[FormatError] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def table(self) -> TensorTable:
        """Return the tensors, with entries made on demand."""
        return TensorTable(self.tensors, entry=_entry, info=_info)


def read_shards(files: Files, names: Sequence[ShardName]) -> Shards:
    """Read the header of every shard.

    What is wrong with one is in `errors`.

    Raises:
        UnreachableError: A file could not be read at all.
    """
    shards = Shards(names)
    with without_collection():
        for name in names:
            try:
                file = read_safetensors(files, name.path)
                _add(shards, name, file, _saved_offsets(file))
            except FormatError as error:
                shards.errors.append(error)
    return shards


def _saved_offsets(file: SafetensorsFile) -> Mapping[str, tuple[int, ...]]:
    """Return where each tensor of a shard starts.

    The offsets are those in the whole tensor.
    """
    try:
        content = parse_object(file.metadata.get(SHARDING, "").encode())
    except DuplicateKeyError as error:
        raise _corrupt("DC050", file.path, f"{SHARDING} has {printable(error.key)!r} twice") from None
    except NotAnObjectError as error:
        raise _corrupt("DC050", file.path, f"{SHARDING} in the header is {error}") from None
    return {name: _offsets(file, name, info, content.get(name)) for name, info in file.tensors.infos()}


def _offsets(file: SafetensorsFile, name: str, info: TensorInfo, header: object) -> tuple[int, ...]:
    saved = header.get("saved_offsets") if type(header) is dict else None
    if type(saved) is not list or not all(type(offset) is int and 0 <= offset < _LARGEST for offset in saved):
        raise _corrupt("DC050", file.path, f"tensor {printable(name)}: no saved_offsets in the header", name)
    if len(saved) != len(info.shape):
        text = f"tensor {printable(name)}: {len(saved)} saved_offsets for {len(info.shape)} dimensions"
        raise _corrupt("DC050", file.path, text, name)
    return tuple(saved)


def _add(shards: Shards, shard: ShardName, file: SafetensorsFile, offsets: Mapping[str, tuple[int, ...]]) -> None:
    for key, value in file.metadata.items():
        if key != SHARDING:
            shards.metadata.setdefault(key, value)
    for name, info in file.tensors.infos():
        assert info.path is not None
        box = StoredBox(offsets[name], info.shape, info.path, info.offset, shard.rank)
        reach = tuple(map(add, box.offsets, box.sizes))
        known = shards.tensors.get(name)
        if known is None:
            shards.tensors[name] = Sharded(info.dtype, reach, [box])
            continue
        if known.dtype is not info.dtype or len(known.shape) != len(reach):
            was = f"{known.dtype.code} of {len(known.shape)} dimensions"
            text = f"{info.dtype.code} of {len(reach)} dimensions, in {printable(known.boxes[0].path)} {was}"
            raise _corrupt("DC051", shard.path, f"tensor {printable(name)}: is {text}", name)
        known.shape = tuple(map(max, known.shape, reach))
        known.boxes.append(box)


def _entry(row: Sharded) -> TensorEntry:
    return TensorEntry(row.dtype, row.shape, tuple(_chunks(row)))


def _chunks(row: Sharded) -> Iterable[Chunk]:
    for box in row.boxes:
        if prod(box.sizes) or 0 in row.shape:
            stored = ByteRange(box.path, box.offset, row.dtype.nbytes(prod(box.sizes)))
            yield Chunk(box.offsets, box.sizes, stored, owner=box.rank - 1)


def _info(row: Sharded) -> TensorInfo:
    box = row.boxes[0]
    if len(row.boxes) == 1 and box.sizes == row.shape:
        return TensorInfo(row.dtype, row.shape, box.path, box.offset)
    return TensorInfo(row.dtype, row.shape, None, 0)


def _corrupt(code: str, path: str, reason: str, tensor: str | None = None) -> CorruptError:
    return CorruptError(f"{printable(path)}: {reason}", code=code, path=path, tensor=tensor)
