"""A checkpoint made of tensors in memory.

They are torch's or numpy's, in the tree of dicts that a trainer hands over.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

from ckpt_core.codecs.torch_dtypes import BY_DTYPE_NAME
from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.layouts.components import component_at, components_of
from ckpt_core.layouts.files_in_memory import FilesInMemory
from ckpt_core.reading.slabs import slabs
from ckpt_core.reading.torch.sharded.shards import Shards, shards_of
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.formats import Confidence, FormatMatch
from ckpt_core.schema.locations import Location, LocationKind
from ckpt_core.schema.manifests import Asset, Component, Manifest, in_order
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.state import State, TensorRef
from ckpt_core.schema.tensors import Box, ByteRange, Chunk, Encoding, TensorEntry, TensorInfo, TensorTable
from ckpt_core.schema.text import printable

_MEMORY = Encoding("memory")
_NO_FILES: Mapping[str, bytes] = {}


def checkpoint_of(state: Mapping[str, Any]) -> "LiveCheckpoint":
    """Return the checkpoint of a state dict, or a tree.

    Such a tree is `{"model": …, "optimizer": …, "step": …}`.

    Raises:
        UsageError: There is nothing in it.
        UnsupportedFormatError: A value is of a class that no format can carry.
    """
    if not state:
        raise UsageError("nothing to save: the state is empty")
    walk = _Walk()
    root = walk.as_state(state, "")
    return LiveCheckpoint(components_of(root, walk.table()), walk.memory)


def checkpoint_of_parts(parts: Mapping[str, Any], files: Mapping[str, bytes] = _NO_FILES) -> "LiveCheckpoint":
    """Return the checkpoint of parts whose labels are known.

    An example is `{"model": …, "optimizer:critic": …}`. The files are carried along, by their paths.

    Raises:
        UsageError: There is nothing in it.
        UnsupportedFormatError: A value is of a class that no format can carry.
    """
    if not parts:
        raise UsageError("nothing to save: the state is empty")
    walk = _Walk()
    roots = {label: walk.as_state(part, label) for label, part in parts.items()}
    table = walk.table()
    kinds = {label: label.partition(":") for label in parts}
    components = [component_at(kinds[label][0], kinds[label][2], table, root, label) for label, root in roots.items()]
    return LiveCheckpoint(in_order(components), walk.memory, files)


class LiveCheckpoint(Checkpoint):
    """Tensors in memory. They must not change while they are written.

    Of a tensor that is spread over ranks its chunks are the boxes that this rank holds.
    """

    in_memory = True

    def __init__(
        self, components: Sequence[Component], memory: Mapping[str, Any], files: Mapping[str, bytes] = _NO_FILES
    ) -> None:
        self.location = Location("memory", LocationKind.FILE)
        self.match = FormatMatch("live", Confidence.CERTAIN, "tensors in memory")
        self.manifest = Manifest(tuple(components), tuple(Asset(path, len(data)) for path, data in files.items()))
        self._memory, self._files = memory, files
        self._addresses: Mapping[TensorKey, int] | None = None
        self._looked = False

    @property
    def memory(self) -> Mapping[str, Any]:
        """Every tensor and array, by the path of its chunk."""
        return self._memory

    @property
    def is_spread(self) -> bool:
        """True if this rank lacks parts of a tensor."""
        return any(_is_spread(entry) for component in self.manifest.components for entry in component.tensors.values())

    def spread_parts(self, *, beside: Collection[str] = ()) -> "LiveCheckpoint":
        """Return the components that have a tensor spread over ranks.

        Those whose labels are in `beside` are kept too.
        """
        parts = [
            part
            for part in self.manifest.components
            if part.label in beside or any(_is_spread(entry) for entry in part.tensors.values())
        ]
        held = {
            chunk.stored.path for part in parts for one in part.tensors.values() for chunk in one.chunks if chunk.stored
        }
        return LiveCheckpoint(parts, {path: self._memory[path] for path in self._memory if path in held})

    def held_in(self, memory: Mapping[str, Any]) -> "LiveCheckpoint":
        """Return the same checkpoint with its tensors and arrays elsewhere."""
        return LiveCheckpoint(self.manifest.components, memory, self._files)

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        entry = self.component(component).tensors[name]
        if _is_spread(entry):
            raise UsageError(
                f"{printable(name)}: is spread over ranks, and this one has a part of it; save at all ranks"
            )
        held = entry.chunks[0].stored
        assert held is not None
        piece = self._memory[held.path]
        if box is not None and box[1] != entry.shape:
            piece = piece[tuple(slice(start, start + size) for start, size in zip(*box, strict=True))]
        data = _bytes_of(piece)
        if out is None:
            return data
        out[:] = data
        return out

    def asset_files(self) -> Files:
        return FilesInMemory(self._files)

    def addresses(self) -> Mapping[TensorKey, int] | None:
        if not self._looked:
            self._addresses, self._looked = self._find_addresses(), True
        return self._addresses

    def _find_addresses(self) -> dict[TensorKey, int] | None:
        found: dict[TensorKey, int] = {}
        for component in self.manifest.components:
            label = component.label
            for name, entry in component.tensors.items():
                held = None if _is_spread(entry) else entry.chunks[0].stored
                address = _address_of(self._memory[held.path]) if held is not None else None
                if address is None:
                    return None
                found[label, name] = address
        return found

    def stream(self, component: str, name: str) -> Iterator[tuple[memoryview, memoryview]]:
        entry = self.component(component).tensors[name]
        for box in slabs(entry.shape, entry.dtype):
            data = self.read(component, name, box=box)
            if len(data):
                yield data, data


class _Row(NamedTuple):
    """A tensor or array of the tree, with its path.

    `path` is where it stands there, and its key in the memory.
    """

    dtype: DType
    shape: tuple[int, ...]
    path: str
    alias_of: str | None
    boxes: tuple[tuple[Box, str], ...] | None = None
    """Of a tensor that is spread over ranks the boxes that are here, each with its key in the memory."""


def _is_spread(entry: TensorEntry) -> bool:
    return len(entry.chunks) != 1 or entry.chunks[0].sizes != entry.shape


def _entry(row: _Row) -> TensorEntry:
    # The chunk's path is the key of `memory`: components rename tensors, and chunks stay.
    if row.boxes is not None:
        chunks = tuple(
            Chunk(*box, ByteRange(path, 0, row.dtype.nbytes(prod(box[1]))), encoding=_MEMORY) for box, path in row.boxes
        )
        return TensorEntry(row.dtype, row.shape, chunks, row.alias_of)
    stored = ByteRange(row.path, 0, row.dtype.nbytes(prod(row.shape)))
    chunk = Chunk((0,) * len(row.shape), row.shape, stored, encoding=_MEMORY)
    return TensorEntry(row.dtype, row.shape, (chunk,), row.alias_of)


def _info(row: _Row) -> TensorInfo:
    return TensorInfo(row.dtype, row.shape, None, 0, row.alias_of)


class _Walk:
    """Turns a tree of live values into plain state.

    Every tensor goes to the table under its dotted path.
    """

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self.memory: dict[str, Any] = {}
        self._first: dict[tuple[object, ...], str] = {}

    def table(self) -> TensorTable:
        """Return the tensors that were met."""
        return TensorTable(self._rows, entry=_entry, info=_info)

    def as_state(self, value: Any, path: str) -> State:
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value  # type: ignore[no-any-return]
        if isinstance(value, Mapping):
            return {key: self.as_state(item, _join(path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            items = [self.as_state(item, _join(path, index)) for index, item in enumerate(value)]
            return items if isinstance(value, list) else tuple(items)
        module = type(value).__module__.partition(".")[0]
        if hasattr(value, "untyped_storage"):
            shards = shards_of(value, path)
            return self._tensor(value.detach(), path) if shards is None else self._shards(value.dtype, shards, path)
        if module == "numpy":
            return self._numpy(value, path)
        if isinstance(value, bool | int | float | str):  # an enum or another subclass of a plain type
            return self.as_state(_plain(value), path)
        raise UnsupportedFormatError(
            f"{printable(path)}: a value of class {type(value).__qualname__} cannot be saved; turn it into plain data"
        )

    def _tensor(self, tensor: Any, path: str) -> State:
        dtype = _dtype_of(tensor.dtype)
        plain = str(tensor.layout) == "torch.strided" and not tensor.is_meta
        if dtype is None or not plain or tensor.is_conj() or tensor.is_neg():
            raise UnsupportedFormatError(
                f"{printable(path)}: a {tensor.layout} tensor of {tensor.dtype} cannot be saved as it is; make it plain"
            )
        shape = tuple(tensor.shape)
        place = (tensor.device, tensor.data_ptr(), dtype, shape, tensor.stride())
        return self._add(path, dtype, shape, tensor, place if tensor.numel() else (path,))

    def _shards(self, dtype: Any, shards: Shards, path: str) -> State:
        """Add a tensor that is spread over ranks.

        One of which all is here is a plain one.
        """
        if len(shards.held) == 1 and shards.held[0][0][1] == shards.shape:
            return self._tensor(shards.held[0][1], path)
        kind = _dtype_of(dtype)
        if kind is None:
            raise UnsupportedFormatError(f"{printable(path)}: a tensor of {dtype} cannot be saved")
        boxes = []
        for index, (box, memory) in enumerate(shards.held):
            self.memory[f"{path}#{index}"] = memory
            boxes.append((box, f"{path}#{index}"))
        places = tuple((memory.device, memory.data_ptr(), memory.stride(), box) for box, memory in shards.held)
        place = (kind, shards.shape, places) if places else (path,)
        first = self._first.setdefault(place, path)
        self._rows[path] = _Row(kind, shards.shape, path, None if first == path else first, tuple(boxes))
        return TensorRef(path)

    def _numpy(self, value: Any, path: str) -> State:
        if not hasattr(value, "__array_interface__") or value.dtype.hasobject:
            raise UnsupportedFormatError(
                f"{printable(path)}: {type(value).__name__} cannot be saved; make it plain data"
            )
        if (not value.shape and not hasattr(value, "flags")) or type(value).__name__ != "ndarray":
            return self.as_state(value.item(), path)
        from ckpt_core.reading.values import dtype_of_numpy

        dtype = dtype_of_numpy(value.dtype)
        if dtype is None:
            raise UnsupportedFormatError(f"{printable(path)}: an array of {value.dtype} cannot be saved")
        place = (value.__array_interface__["data"][0], dtype, value.shape, value.strides)
        return self._add(path, dtype, tuple(value.shape), value, place if value.size else (path,))

    def _add(self, path: str, dtype: DType, shape: tuple[int, ...], memory: Any, place: tuple[object, ...]) -> State:
        first = self._first.setdefault(place, path)
        self._rows[path] = _Row(dtype, shape, path, None if first == path else first)
        self.memory[path] = memory
        return TensorRef(path)


@cache
def _dtype_of(dtype: Any) -> DType | None:
    """Return our type of one of torch's.

    Torch has one object of each.
    """
    return BY_DTYPE_NAME.get(str(dtype).removeprefix("torch."))


def _address_of(piece: Any) -> int | None:
    """Return the place where a tensor lies as it is written.

    None where it has to be made so first.
    """
    if hasattr(piece, "untyped_storage"):
        plain = type(piece).__module__ == "torch" and piece.is_cpu and piece.is_contiguous()
        return piece.data_ptr() if plain else None
    plain = piece.flags.c_contiguous and piece.dtype.newbyteorder("<") == piece.dtype
    return int(piece.__array_interface__["data"][0]) if plain else None


def _bytes_of(piece: Any) -> memoryview:
    """Return the row-major little-endian bytes of a tensor or array."""
    if hasattr(piece, "untyped_storage"):
        import torch

        # A call a tensor counts where there are thousands: most are whole, and in the memory of the processor.
        plain = piece if piece.is_cpu and piece.is_contiguous() else piece.to("cpu").contiguous()
        flat = plain if plain.ndim == 1 else plain.reshape(-1)
        return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")
    import numpy as np

    array: Any = np.ascontiguousarray(piece, dtype=piece.dtype.newbyteorder("<"))
    return memoryview(array.reshape(-1)).cast("B") if array.size else memoryview(b"")


def _plain(value: Any) -> State:
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(type(value))


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
