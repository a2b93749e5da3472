"""A distributed checkpoint of any size without its bytes: real metadata, and shards that are holes of the right length,
but for the first item of each, whose frame is there.

The metadata is pickled by Python's own pickler from classes that stand in for torch's under torch's names, so that the
stream is the one that torch writes. What `gather` makes of the ranks is kept: each rank's names are strings of its own.

    python -m benchmarks.dcp_directory FOLDER RANKS TENSORS
"""

import gc
import os
import pickle
import sys
import zipfile
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from pathlib import Path, PosixPath
from types import ModuleType
from typing import Any

from ckpt_core import DType
from ckpt_core.codecs.torch.item_writer import plan_tensor_item
from ckpt_core.schema.plans import TensorBytes

_METADATA = "torch.distributed.checkpoint.metadata"
_FILESYSTEM = "torch.distributed.checkpoint.filesystem"

ROWS, COLUMNS, ITEMSIZE = 8192, 3200, 2
"""Each tensor is a BF16 matrix of 52 MB, cut into rows: 20,000 of them are a terabyte."""


class Size(tuple[int, ...]):
    """Stands for `torch.Size`."""

    def __reduce__(self) -> Any:
        return Size, (tuple(self),)


class _Dtype:
    """Stands for a `torch.dtype`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.__module__ = "torch"

    def __reduce__(self) -> str:
        return self._name


class _Layout:
    """Stands for `torch.strided`."""

    def __reduce__(self) -> Any:
        return sys.modules["torch.serialization"].__dict__["_get_layout"], ("torch.strided",)


class _MemoryFormat(Enum):
    TORCH_CONTIGUOUS_FORMAT = 0


@dataclass
class _ChunkStorageMetadata:
    offsets: Size
    sizes: Size


class _TensorProperties:
    def __init__(self, dtype: _Dtype, layout: _Layout) -> None:
        self._state = (dtype, layout, False, _MemoryFormat.TORCH_CONTIGUOUS_FORMAT, False)

    def __getstate__(self) -> Any:
        return self._state


@dataclass
class _TensorStorageMetadata:
    properties: _TensorProperties
    size: Size
    chunks: list[_ChunkStorageMetadata]


class _BytesStorageMetadata:
    pass


class _MetadataIndex:
    def __init__(self, fqn: str, offset: Size | None, index: int | None) -> None:
        self.fqn = fqn
        self.index = index
        if offset is not None:
            self.offset = offset


@dataclass
class _StorageInfo:
    relative_path: str
    offset: int
    length: int


@dataclass
class _StorageMeta:
    checkpoint_id: PosixPath
    save_id: str
    load_id: None = None
    modules: list[str] = field(default_factory=list)


@dataclass
class _Metadata:
    state_dict_metadata: dict[str, Any]
    planner_data: dict[str, Any]
    storage_data: dict[_MetadataIndex, _StorageInfo]
    storage_meta: _StorageMeta
    version: str


def make(folder: Path, ranks: int, tensors: int) -> None:
    """Write the directory: `tensors` matrices, each cut into as many blocks of rows as there are ranks.

    A process that has torch must not: what stands under torch's names would stay there.
    """
    if "torch" in sys.modules:
        raise RuntimeError("torch is imported; make the directory in a process of its own (python -m)")
    if ROWS % ranks:
        raise ValueError(f"{ROWS} rows are not cut into {ranks}")
    gc.disable()
    dtype = _stand_in()
    folder.mkdir(parents=True)
    names = [_name(number) for number in range(tensors)]
    rows = ROWS // ranks
    before, behind = _frame(rows)
    length = len(before) + rows * COLUMNS * ITEMSIZE + len(behind)
    step = _number_item(7)
    storage = {_MetadataIndex("step", None, None): _StorageInfo("__0_0.distcp", 0, len(step))}
    described: dict[str, Any] = {}
    properties = _TensorProperties(dtype, _Layout())
    for name in names:
        chunks = [_ChunkStorageMetadata(Size((rank * rows, 0)), Size((rows, COLUMNS))) for rank in range(ranks)]
        described[name] = _TensorStorageMetadata(_copy(properties), Size((ROWS, COLUMNS)), chunks)
    for rank in range(ranks):
        first = b"" if rank else step
        path, start = f"__{rank}_0.distcp", len(first)
        for name in names:
            own = name.encode().decode()
            storage[_MetadataIndex(own, Size((rank * rows, 0)), rank)] = _StorageInfo(path, start, length)
            start += length
        _hole(folder / path, start, {0: first + before, len(first) + length - len(behind): behind})
    described["step"] = _BytesStorageMetadata()
    planner_data = {name: ("model", name.removeprefix("model.")) for name in names} | {"step": ("step",)}
    meta = _StorageMeta(PosixPath("/checkpoints/step-7"), "3f0c7a4e-0000-4000-8000-000000000000")
    with open(folder / ".metadata", "wb") as out:
        pickle.dump(_Metadata(described, planner_data, storage, meta, "1.0.0"), out, protocol=4)


def _name(number: int) -> str:
    layer, part = divmod(number, 200)
    return f"model.layers.{layer}.mlp.experts.{part}.up_proj.weight"


def _copy(properties: _TensorProperties) -> _TensorProperties:
    made = _TensorProperties.__new__(_TensorProperties)
    made._state = (*properties._state,)
    return made


def _stand_in() -> _Dtype:
    """Put the classes under torch's names, and give its BF16."""
    dtype = _Dtype("bfloat16")
    named: dict[str, Any] = {f"torch.{name}": part for name, part in (("Size", Size), ("bfloat16", dtype))}
    named["torch.serialization._get_layout"] = lambda name: None
    for kind in (_ChunkStorageMetadata, _TensorProperties, _TensorStorageMetadata, _BytesStorageMetadata):
        named[f"{_METADATA}.{kind.__name__.lstrip('_')}"] = kind
    for kind in (_MetadataIndex, _StorageMeta, _Metadata):
        named[f"{_METADATA}.{kind.__name__.lstrip('_')}"] = kind
    named[f"{_METADATA}._MEM_FORMAT_ENCODING"] = _MemoryFormat
    named[f"{_FILESYSTEM}._StorageInfo"] = _StorageInfo
    for full_name, value in named.items():
        module, _, name = full_name.rpartition(".")
        setattr(sys.modules.setdefault(module, ModuleType(module)), name, value)
        if not isinstance(value, _Dtype):
            value.__module__, value.__qualname__, value.__name__ = module, name, name
    return dtype


def _number_item(number: int) -> bytes:
    """A file as torch.save makes of a number."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(number, 2))
        archive.writestr("archive/version", b"3\n")
    return out.getvalue()


def _frame(rows: int) -> tuple[bytes, bytes]:
    """What stands before and behind the elements of an item."""
    content = TensorBytes("model", "", rows * COLUMNS * ITEMSIZE)
    before, _, behind = plan_tensor_item(content, DType.BF16, (rows, COLUMNS))
    return before.data, behind.make({})


def _hole(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    with open(path, "wb") as out:
        os.truncate(out.fileno(), size)
        for start, data in pieces.items():
            os.pwrite(out.fileno(), data, start)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
