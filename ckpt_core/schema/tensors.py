"""Tensors as boxes over byte ranges.

The table says where each element of each tensor lies, without reading any.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, TypeVar

from ckpt_core.schema.dtypes import DType

T = TypeVar("T")

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes of a part of a tensor, in elements, one of each a dimension."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of bytes in one file.

    `path` is relative to the checkpoint's root, `offset` and `length` are in bytes.
    """

    path: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Encoding:
    """The way that stored bytes are decoded to elements.

    Attributes:
        name: `raw` (as they are), `zstd`, or `torch-zip`: a whole file of torch.save inside a range of bytes, in which
            the elements have a place that the first read finds.
        little_endian: Their byte order.
        dtype: For a `torch-zip`, which says itself what it holds: the type that it must say.
    """

    name: str = "raw"
    little_endian: bool = True
    dtype: DType | None = None


RAW = Encoding()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored box of a tensor.

    Attributes:
        offsets: Where the box starts in the tensor, in elements, one a dimension.
        sizes: Its size, in elements, one a dimension.
        stored: The bytes that hold it; None for the live memory of a rank.
        strides: Distance of neighbours in elements, one a dimension; None for row-major without gaps.
        encoding: How the bytes are to be decoded.
        at: Byte at which the box starts in the decoded bytes.
        owner: The rank that wrote it, where that is known.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    stored: ByteRange | None
    strides: tuple[int, ...] | None = None
    encoding: Encoding = RAW
    at: int = 0
    owner: int | None = None

    def within(self, root: str) -> "Chunk":
        """Return the chunk with its path below a directory.

        The chunk is named by a listing of that directory, the result by the listing above it.
        """
        if not root or self.stored is None:
            return self
        stored = ByteRange(under(root, self.stored.path), self.stored.offset, self.stored.length)
        return Chunk(self.offsets, self.sizes, stored, self.strides, self.encoding, self.at, self.owner)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor: logical shape, element type, and its chunks.

    `alias_of` names the tensor whose storage this one shares element for element (tied weights).
    """

    dtype: DType
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]
    alias_of: str | None = None

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements in row-major order.

        Replicas and padding do not count.
        """
        return self.dtype.nbytes(self.numel)


class TensorInfo(NamedTuple):
    """A tensor's dtype, shape and place, for a listing.

    It is cheap enough for 20,000 tensors.

    `path` and `offset` say where its bytes lie when it is one raw, row-major, little-endian chunk; else `path` is None.
    """

    dtype: DType
    shape: tuple[int, ...]
    path: str | None
    offset: int
    alias_of: str | None = None

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.dtype.nbytes(prod(self.shape))


class TensorTable(Mapping[str, TensorEntry]):
    """Tensors by name, with entries made on demand.

    A listing needs only the infos.

    Args:
        rows: Whatever the format knows of each tensor, by name, in file order.
        entry: Makes the entry of a row.
        info: Makes the info of a row.
    """

    __slots__ = ("_entry", "_info", "_rows")

    def __init__(
        self,
        rows: Mapping[str, Any],
        *,
        entry: Callable[[Any], TensorEntry],
        info: Callable[[Any], TensorInfo],
    ) -> None:
        self._rows = rows
        self._entry = entry
        self._info = info

    @classmethod
    def of(cls, entries: Mapping[str, TensorEntry]) -> "TensorTable":
        """Make a table of entries that exist already."""
        return cls(entries, entry=_same, info=info_of)

    @classmethod
    def of_infos(cls, infos: Mapping[str, TensorInfo], *, entry: Callable[[TensorInfo], TensorEntry]) -> "TensorTable":
        """Make a table whose rows are the infos themselves."""
        return cls(infos, entry=entry, info=_same)

    @classmethod
    def join(cls, tables: Iterable["TensorTable"]) -> "TensorTable":
        """Join several tables, one after the other.

        The first wins where a name comes twice.
        """
        every = list(tables)
        if len(every) == 1:
            return every[0]
        rows: dict[str, tuple[TensorTable, str]] = {}
        for table in every:
            for name in table:
                rows.setdefault(name, (table, name))
        return cls(rows, entry=lambda row: row[0][row[1]], info=lambda row: row[0].info(row[1]))

    def renamed(self, names: Mapping[str, str]) -> "TensorTable":
        """Return the tensors that `names` maps from old to new.

        They come in the order of `names`; an alias of a tensor left out stands alone.
        """

        def entry(old: str) -> TensorEntry:
            tensor = self[old]
            alias = names.get(tensor.alias_of) if tensor.alias_of else None
            if alias == tensor.alias_of:
                return tensor
            return TensorEntry(tensor.dtype, tensor.shape, tensor.chunks, alias)

        def info(old: str) -> TensorInfo:
            row = self.info(old)
            return row._replace(alias_of=names.get(row.alias_of)) if row.alias_of else row

        return TensorTable({new: old for old, new in names.items()}, entry=entry, info=info)

    def within(self, root: str) -> "TensorTable":
        """Return the same tensors with `root` before their files' paths.

        Rows are shared, not copied.
        """
        if not root:
            return self

        def entry(row: Any) -> TensorEntry:
            made = self._entry(row)
            chunks = tuple(chunk.within(root) for chunk in made.chunks)
            return TensorEntry(made.dtype, made.shape, chunks, made.alias_of)

        def info(row: Any) -> TensorInfo:
            made = self._info(row)
            return made if made.path is None else made._replace(path=under(root, made.path))

        return TensorTable(self._rows, entry=entry, info=info)

    def __getitem__(self, name: str) -> TensorEntry:
        return self._entry(self._rows[name])

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<TensorTable of {len(self)} tensors>"

    def info(self, name: str) -> TensorInfo:
        return self._info(self._rows[name])

    def infos(self) -> Iterator[tuple[str, TensorInfo]]:
        """Yield the name and info of every tensor, in file order."""
        make = self._info
        for name, row in self._rows.items():
            yield name, make(row)


def under(root: str, path: str) -> str:
    """Join a directory and a path below it.

    `root` is "" for the directory of the listing itself.
    """
    return f"{root}/{path}" if root else path


def row_major_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a row-major tensor without gaps."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_row_major(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Return True if `strides` are those of a row-major `shape`.

    The tensor has no gaps; dimensions of size 1 may have any stride.
    """
    if 0 in shape:
        return True
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def info_of(entry: TensorEntry) -> TensorInfo:
    """Return the info of an entry."""
    if len(entry.chunks) == 1:
        chunk = entry.chunks[0]
        whole = chunk.sizes == entry.shape and not any(chunk.offsets)
        whole = whole and chunk.strides is None and chunk.encoding == RAW
        if whole and chunk.stored is not None:
            return TensorInfo(
                entry.dtype, entry.shape, chunk.stored.path, chunk.stored.offset + chunk.at, entry.alias_of
            )
    return TensorInfo(entry.dtype, entry.shape, None, 0, entry.alias_of)


def stretch_of(box: Box, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the first element and length of a contiguous box.

    Both count elements of the row-major tensor; the result is None where the box is not one stretch.

    A box is one stretch when it has one element of each outer dimension, a range of the next, and all of the inner
    ones: rows, as shards have them.
    """
    offsets, sizes = box
    count = prod(sizes)
    inner = len(sizes)
    while inner and sizes[inner - 1] == shape[inner - 1]:
        inner -= 1
    if count and any(size != 1 for size in sizes[: max(inner - 1, 0)]):
        return None
    return sum(offset * step for offset, step in zip(offsets, row_major_strides(shape), strict=True)), count


def _same(row: T) -> T:
    return row
