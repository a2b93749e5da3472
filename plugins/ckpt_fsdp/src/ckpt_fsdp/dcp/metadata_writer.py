"""Writes the `.metadata` of a distributed checkpoint without torch.

The classes of torch are named and filled.

Beside what torch writes, the note `ckpt` keeps what torch's flattening loses; torch takes it for an attribute that it
never asks for.

Source: torch, `torch/distributed/checkpoint/metadata.py` and `filesystem.py`; the version is CURRENT_DCP_VERSION there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ckpt_core import DType
from ckpt_core.codecs import BY_DTYPE_NAME, Called, Global, Instance, LazyDict, RepeatedValue, write_objects
from ckpt_fsdp.dcp.flattening import Flat

Box = tuple[tuple[int, ...], tuple[int, ...]]

_VERSION = "1.0.0"
_HOME = "torch.distributed.checkpoint.metadata"
_SIZE = Global("torch", "Size")
_CHUNK = Global(_HOME, "ChunkStorageMetadata")
_INDEX = Global(_HOME, "MetadataIndex")
_INFO = Global("torch.distributed.checkpoint.filesystem", "_StorageInfo")
_VALUE = Instance(Global(_HOME, "BytesStorageMetadata"))
_STRIDED = Called(Global("torch.serialization", "_get_layout"), ("torch.strided",), shared=True)
_CONTIGUOUS = Called(Global(_HOME, "_MEM_FORMAT_ENCODING"), (0,), shared=True)

_DTYPES = {dtype: Global("torch", name) for name, dtype in reversed(BY_DTYPE_NAME.items())}
"""The name of each type; of two names that torch has for one, the first, which torch writes too."""


class WrittenItem(NamedTuple):
    """The place of a stored item.

    Its flat key, its box (None for what is no tensor), file, offset and length in bytes.
    """

    key: str
    box: Box | None
    path: str
    offset: int
    length: int


@dataclass(slots=True)
class WrittenTensor:
    """A tensor, and the boxes that it is written in."""

    dtype: DType
    shape: tuple[int, ...]
    boxes: list[Box | None] = field(default_factory=list)


def write_metadata(flat: Flat, tensors: Mapping[str, WrittenTensor], items: Sequence[WrittenItem]) -> bytes:
    """Return the bytes of `.metadata` for these leaves.

    `tensors` are the tensors among them, `items` the items that hold them.
    """
    state = {
        "state_dict_metadata": LazyDict(_described(flat, tensors)),
        "planner_data": flat.paths,
        "storage_data": LazyDict(_stored(items)),
        "storage_meta": None,
        "version": _VERSION,
    }
    notes = {"numbered": flat.numbered, "empty": flat.empty}
    if any(notes.values()):
        state["ckpt"] = notes
    return write_objects(Instance(Global(_HOME, "Metadata"), state))


def _described(flat: Flat, tensors: Mapping[str, WrittenTensor]) -> Iterator[tuple[str, Instance]]:
    for key in flat.paths:
        yield key, _tensor(tensors[key]) if key in tensors else _VALUE


def _tensor(tensor: WrittenTensor) -> Instance:
    dtype = _DTYPES[tensor.dtype]
    properties = Instance(Global(_HOME, "TensorProperties"), (dtype, _STRIDED, False, _CONTIGUOUS, False))
    boxes = tuple(tensor.boxes)
    chunks = RepeatedValue((_CHUNK, boxes), lambda: [_chunk(*box) for box in boxes if box is not None])
    state = {"properties": properties, "size": _size(tensor.shape), "chunks": chunks}
    return Instance(Global(_HOME, "TensorStorageMetadata"), state)


def _chunk(offsets: tuple[int, ...], sizes: tuple[int, ...]) -> Instance:
    return Instance(_CHUNK, {"offsets": _size(offsets), "sizes": _size(sizes)})


def _stored(items: Sequence[WrittenItem]) -> Iterator[tuple[Instance, Instance]]:
    index, previous = 0, None
    for key, box, path, offset, length in items:
        index, previous = (index + 1 if key == previous else 0), key
        place: dict[str, Any] = {"fqn": key, "index": None if box is None else index}
        if box is not None:
            place["offset"] = _size(box[0])
        yield (
            Instance(_INDEX, place),
            Instance(_INFO, {"relative_path": path, "offset": offset, "length": length}),
        )


def _size(numbers: tuple[int, ...]) -> RepeatedValue:
    return RepeatedValue(numbers, lambda: Called(_SIZE, (numbers,)))
