"""Reads the tensors, boxes and items that a `.metadata` describes.

It also reads how their names nest.

The pickle is read by a machine whose every value is inert. Source: torch, `torch/distributed/checkpoint/metadata.py`,
`filesystem.py` and `default_planner.py`; before torch 2.0 the same classes lived in `torch/distributed/_shard`.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ckpt_core import CkptError, CorruptError, DType, UnsafeContentError, UnsupportedFormatError, printable
from ckpt_core.codecs import BY_DTYPE_NAME, PACKED_F4, Machine, PickledName, PickledObject, Size, without_collection
from ckpt_fsdp.dcp.records import Boxes, BoxHook, Rows, Shapes, StorageHook, StorageTable

_HOMES = ("torch.distributed.checkpoint", "torch.distributed._shard.checkpoint")
_KNOWN = re.compile(
    r"torch\.distributed\.(?:_shard\.)?(?:checkpoint|sharded_tensor)\.(?:metadata|filesystem)\.(\w+)", re.ASCII
)
_VERSION = re.compile(r"1(\.\d+)*")
_LARGEST = 1 << 62
_MOST_DIMENSIONS = 64


class StoredBox(NamedTuple):
    """One metadata file's boxes of a tensor.

    Offsets and sizes come in turn; `rows` are its rows in `table`.
    """

    boxes: list[tuple[int, ...]]
    rows: "array[int]"
    table: StorageTable


class StoredTensor(NamedTuple):
    """A tensor as the metadata describes it.

    `packed` where two of its elements share a byte of torch's.
    """

    dtype: DType
    shape: tuple[int, ...]
    parts: tuple[StoredBox, ...]
    packed: bool = False


class StoredItem(NamedTuple):
    """The place of an item that is no tensor.

    A whole file of torch.save lies in that range.
    """

    path: str
    offset: int
    length: int


@dataclass(slots=True)
class DcpMetadata:
    """The content of one metadata file.

    Attributes:
        path: The file.
        tensors: By flat key, in the order of the file.
        items: The other items by flat key; None for one that is stored nowhere.
        planner_data: The path of keys and indexes of each flat key; None where a planner kept none.
        facts: Version and save id, where they are there.
        files: Relative paths of the files that it names.
        numbered: Ways to dicts whose keys were numbers before torch's flattening; only our own writer notes them.
        empty: Ways to empty dicts, which torch's flattening drops; only our own writer notes them.
    """

    path: str
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    items: dict[str, StoredItem | None] = field(default_factory=dict)
    planner_data: Mapping[str, tuple[str | int, ...]] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    numbered: tuple[tuple[str | int, ...], ...] = ()
    empty: tuple[tuple[str | int, ...], ...] = ()


def parse_metadata(data: bytes, *, path: str) -> DcpMetadata:
    """Read the pickle of a `.metadata`.

    `path` names it in errors.

    Raises:
        UnsafeContentError: PK003, it would run code; DC003, it names a file outside of the checkpoint.
        UnsupportedFormatError: PK006 or DC004, a class, DC005, an element type or a version, DC006, a transform that
            is not known.
        CorruptError: PK001 or DC002, it is no metadata.
        BudgetError: PK002, it takes more memory than is allowed.
    """
    table, shapes = StorageTable(), Shapes()
    hooks: dict[str, Any] = {}
    for home in _HOMES:
        hooks[f"{home}.metadata.ChunkStorageMetadata"] = BoxHook(f"{home}.metadata.ChunkStorageMetadata", shapes)
        names = f"{home}.metadata.MetadataIndex", f"{home}.filesystem._StorageInfo"
        hooks[names[0]] = StorageHook(*names, shapes, table)
    makers = {"torch.Size": Size, "collections.OrderedDict": _ordered_dict}
    with without_collection():
        value = Machine(data, path=path, hooks=hooks, makers=makers).read()
        try:
            return _Reader(path, table).metadata(value)
        except CkptError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise CorruptError(
                f"{printable(path)}: not the metadata of a distributed checkpoint: {printable(str(error), 160)}; "
                "get the file again",
                code="DC002",
                path=path,
            ) from error


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    if pairs:
        raise TypeError("an OrderedDict that is made of something")
    return {}


class _Reader:
    """Turns the records of one stream into a DcpMetadata.

    Any built-in error means that they are not what they should be.
    """

    def __init__(self, path: str, table: StorageTable) -> None:
        self._path = path
        self._table = table
        self._dtypes: dict[str, tuple[DType, bool]] = {}

    def metadata(self, value: Any) -> DcpMetadata:
        fields = self._fields(value, "Metadata")
        metadata = DcpMetadata(self._path, facts=self._facts(fields))
        rows = self._rows(fields.get("storage_data"))
        for name, described in self._dict(fields["state_dict_metadata"]).items():
            if type(name) is not str:
                raise TypeError("a key that is no text")
            if self._kind(described) == "BytesStorageMetadata":
                metadata.items[name] = self._item(rows.get(name))
            else:
                metadata.tensors[name] = self._tensor(described, rows.get(name))
        metadata.planner_data = self._planner_data(fields.get("planner_data"))
        notes = self._dict(fields.get("ckpt") or {})
        metadata.numbered, metadata.empty = (self._ways(notes.get(name)) for name in ("numbered", "empty"))
        self._check_paths()
        metadata.files = tuple(self._table.files)
        return metadata

    def _facts(self, fields: dict[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        version = fields.get("version")
        if version is not None:
            if type(version) is not str or not _VERSION.fullmatch(version):
                raise self._unsupported("DC005", f"version {version!r} of the layout is not known; get a newer ckpt")
            facts["dcp_version"] = version
        meta = fields.get("storage_meta")
        save_id = self._fields(meta, "StorageMeta").get("save_id") if meta is not None else None
        if type(save_id) is str:
            facts["save_id"] = save_id
        return facts

    def _rows(self, storage: Any) -> "dict[str, array[int]]":
        """Return the rows of each flat key.

        Those that the machine read one by one included.
        """
        by_key: dict[str, array[int]] = {}
        names = self._table.names
        for key, value in self._dict(storage).items():
            numbers = range(key.start, key.stop) if type(key) is Rows else (self._add_row(key, value),)
            for number in numbers:
                rows = by_key.get(names[number])
                if rows is None:
                    by_key[names[number]] = array("I", (number,))
                else:
                    rows.append(number)
        return by_key

    def _add_row(self, key: Any, value: Any) -> int:
        index, info = self._fields(key, "MetadataIndex"), self._fields(value, "_StorageInfo")
        if info.get("transform_descriptors"):
            shown = printable(str(info["transform_descriptors"]), 80)
            raise self._unsupported("DC006", f"its items are transformed ({shown}); load it with what wrote it")
        name, place, path = index["fqn"], index.get("offset"), info["relative_path"]
        if type(name) is not str or type(path) is not str or not (place is None or _is_sizes(place)):
            raise TypeError("a place of an item that is not spelled as one")
        offset, length = info["offset"], info["length"]
        if not _is_sizes((offset, length)):
            raise ValueError("a place of an item that is no range of bytes")
        return self._table.add(name, place, path, offset, length)

    def _item(self, rows: "array[int] | None") -> StoredItem | None:
        if not rows:
            return None
        table, row = self._table, rows[-1]
        return StoredItem(table.files[table.paths[row]], table.offsets[row], table.lengths[row])

    def _tensor(self, described: Any, rows: "array[int] | None") -> StoredTensor:
        fields = self._fields(described, "TensorStorageMetadata")
        shape = fields["size"]
        if not _is_sizes(shape):
            raise TypeError("a tensor without a size")
        dtype, packed = self._dtype(fields["properties"])
        part = StoredBox(list(self._boxes(fields["chunks"], len(shape))), rows or array("I"), self._table)
        return StoredTensor(dtype, shape, (part,), packed)

    def _boxes(self, chunks: Any, ndim: int) -> Iterator[tuple[int, ...]]:
        if type(chunks) is not list:
            raise TypeError("the chunks of a tensor are no list")
        for chunk in chunks:
            if type(chunk) is Boxes:
                flat = chunk.flat
            else:
                fields = self._fields(chunk, "ChunkStorageMetadata")
                flat = [fields["offsets"], fields["sizes"]]
                if not all(map(_is_sizes, flat)):
                    raise TypeError("a chunk whose place is no sizes")
            for numbers in flat:
                if len(numbers) != ndim:
                    raise ValueError(f"a chunk of {len(numbers)} dimensions in a tensor of {ndim}")
            yield from flat

    def _dtype(self, properties: Any) -> tuple[DType, bool]:
        if self._kind(properties) != "TensorProperties":
            raise TypeError("a tensor without properties")
        state = properties.state
        kind = state[0] if type(state) is tuple else state["dtype"]
        if type(kind) is not PickledName:
            raise TypeError("a tensor without a type")
        known = self._dtypes.get(kind.full_name)
        if known is None:
            known = self._dtypes[kind.full_name] = self._known_dtype(kind.full_name)
        return known

    def _known_dtype(self, full_name: str) -> tuple[DType, bool]:
        name = full_name.removeprefix("torch.")
        if name == PACKED_F4:
            return DType.F4, True
        if name not in BY_DTYPE_NAME or name == full_name:
            raise self._unsupported(
                "DC005", f"tensors of type {printable(full_name)} are not known; load it with torch"
            )
        return BY_DTYPE_NAME[name], False

    def _planner_data(self, data: Any) -> dict[str, tuple[str | int, ...]] | None:
        """Return the path of each flat key.

        Nothing is made of any other planner's data.
        """
        if type(data) is not dict or not data:
            return None
        for key, path in data.items():
            if type(key) is not str or not _is_way(path):
                return None
        return data

    @staticmethod
    def _ways(data: Any) -> tuple[tuple[str | int, ...], ...]:
        return tuple(path for path in data if _is_way(path)) if type(data) is list else ()

    def _check_paths(self) -> None:
        for path in self._table.files:
            if leads_away(path):
                raise UnsafeContentError(
                    f"{printable(self._path)}: names {printable(path)!r}, which is no file of this directory; "
                    "nothing was read of it; get the checkpoint from a source you trust",
                    code="DC003",
                    path=self._path,
                )

    def _fields(self, value: Any, kind: str) -> dict[str, Any]:
        """Return the state of an object of torch's."""
        if self._kind(value) != kind:
            raise self._unexpected(value, kind)
        return self._dict(value.state or {})

    def _kind(self, value: Any) -> str:
        """Return the last part of a known class's name.

        "" for anything else.
        """
        known = _KNOWN.fullmatch(value.full_name) if type(value) is PickledObject else None
        return known[1] if known else ""

    def _unexpected(self, value: Any, kind: str) -> Exception:
        if type(value) is PickledObject and not self._kind(value):
            return self._unsupported("DC004", f"{printable(value.full_name)} in place of {kind} is not known here")
        return TypeError(f"no {kind} where one belongs")

    @staticmethod
    def _dict(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise TypeError("no dict where one belongs")
        return value

    def _unsupported(self, code: str, reason: str) -> UnsupportedFormatError:
        return UnsupportedFormatError(f"{printable(self._path)}: {reason}", code=code, path=self._path)


def leads_away(path: str) -> bool:
    """Return True if a path is no plain relative path.

    It is absolute, a URL, with `..`, or with characters that some systems split at.
    """
    parts = path.split("/")
    odd = "\\" in path or "\0" in path or "://" in path or path[1:2] == ":"
    return odd or not path or "" in parts or ".." in parts or "." in parts


def _is_way(path: Any) -> bool:
    """Return True if it is keys and indexes to a leaf."""
    if type(path) is not tuple or not path:
        return False
    return all(type(part) is str or (type(part) is int and 0 <= part < _LARGEST) for part in path)


def _is_sizes(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) <= _MOST_DIMENSIONS
        and all(type(number) is int and 0 <= number < _LARGEST for number in value)
    )
