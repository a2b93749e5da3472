"""The tensor table of a torch file.

Each tensor's bytes are proven to lie within its storage.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from ckpt_core import knobs
from ckpt_core.codecs.pickle.records import StorageRecord, TensorRecord
from ckpt_core.codecs.pickle.sharded_tensors import Piece, ShardedRecord
from ckpt_core.errors import BudgetError, CorruptError
from ckpt_core.schema.tensors import (
    RAW,
    ByteRange,
    Chunk,
    Encoding,
    TensorEntry,
    TensorInfo,
    TensorTable,
    info_of,
    is_row_major,
)
from ckpt_core.schema.text import printable

_LARGEST = 1 << 63
# Views that share a storage seldom amount to more than two or three times its bytes.
_MOST_REPEATED = 16
_BIG_ENDIAN = Encoding(little_endian=False)

Row = TensorInfo | TensorEntry
"""An info where a tensor is one plain run of bytes, as nearly all are; else its entry."""

_First = dict[tuple[int, str, tuple[int, ...], tuple[int, ...]], str]
"""The tensor that was first found at a place, with its type, shape and strides."""


class StorageError(Exception):
    """The bytes of a storage cannot be found.

    The text says why; `tensor_table` adds which tensor wanted them.
    """


def tensor_table(
    tensors: Mapping[str, TensorRecord | ShardedRecord],
    *,
    path: str,
    place: Callable[[StorageRecord], tuple[int, int]],
    little_endian: bool,
) -> TensorTable:
    """Return the table of the tensors of one file.

    Args:
        tensors: What the pickle says of each, by name, in file order. One that is spread over ranks has the shape of
            the whole, and the chunks that this file has of it.
        path: The file.
        place: Offset in the file and length, in bytes, of a storage. Raises StorageError.
        little_endian: The byte order of the elements.

    Raises:
        CorruptError: TF002, a tensor reaches outside of its storage; TF003, there is no such storage.
        BudgetError: PK002, its tensors repeat the same bytes so often that the whole is too large.
    """
    builder = _Builder(path, place, little_endian)
    rows: dict[str, Row] = {
        name: builder.sharded_row(name, tensor) if isinstance(tensor, ShardedRecord) else builder.row(name, tensor)
        for name, tensor in tensors.items()
    }
    builder.check_total()
    return TensorTable(rows, entry=_entry, info=_info)


class _Builder:
    def __init__(self, path: str, place: Callable[[StorageRecord], tuple[int, int]], little_endian: bool) -> None:
        self.path = path
        self.place = place
        self.little_endian = little_endian
        self._extents: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[bool, int, int]] = {}
        self._logical = 0
        self._stored: dict[int, int] = {}
        self._first: _First = {}
        self._first_sharded: dict[tuple[str, tuple[int, ...], tuple[Chunk, ...]], str] = {}

    def row(self, name: str, tensor: TensorRecord) -> Row:
        """Return the row of a plain tensor."""
        return self._row(name, tensor, self._first)

    def sharded_row(self, name: str, tensor: ShardedRecord) -> Row:
        """Return the row of a tensor with pieces in the file.

        The shape is that of the whole.
        """
        if tensor.dtype.nbytes(prod(tensor.shape)) >= _LARGEST:
            raise self._corrupt("TF002", name, f"a whole of shape {tensor.shape}")
        chunks = tuple(self._piece(name, piece) for piece in tensor.pieces if 0 not in piece.local.shape)
        alias = self._first_sharded.setdefault((tensor.dtype.code, tensor.shape, chunks), name) if chunks else name
        return TensorEntry(tensor.dtype, tensor.shape, chunks, None if alias == name else alias)

    def _piece(self, name: str, piece: Piece) -> Chunk:
        (chunk,) = _entry(self._row(name, piece.local, {})).chunks
        return replace(chunk, offsets=piece.offsets)

    def _row(self, name: str, tensor: TensorRecord, first: _First) -> Row:
        storage, dtype, offset, shape, strides = tensor
        start, length = self._storage(name, storage)
        if 0 in shape:
            return TensorInfo(dtype, shape, self.path, start)
        extent = self._extents.get((shape, strides))
        if extent is None:
            extent = self._extents[shape, strides] = _extent(shape, strides)
        plain, numel, span = extent
        begin, end = dtype.nbytes(offset), dtype.nbytes(offset + span)
        if end > length or dtype.nbytes(numel) >= _LARGEST:
            raise self._corrupt(
                "TF002", name, f"elements {offset} to {offset + span} of {dtype.code} in a storage of {length} bytes"
            )
        alias = first.setdefault((start + begin, dtype.code, shape, strides), name)
        alias_of = None if alias == name else alias
        if alias_of is None:
            self._logical += dtype.nbytes(numel)
            self._stored[start] = length
        swapped = not self.little_endian and dtype.itemsize != 1
        if plain and not swapped:
            return TensorInfo(dtype, shape, self.path, start + begin, alias_of)
        stored = ByteRange(self.path, start + begin, end - begin)
        encoding = _BIG_ENDIAN if swapped else RAW
        chunk = Chunk((0,) * len(shape), shape, stored, None if plain else strides, encoding)
        return TensorEntry(dtype, shape, (chunk,), alias_of)

    def check_total(self) -> None:
        """Raise BudgetError if tensors repeat too many bytes.

        Broadcasts and overlapping views are a few bytes in the file, and any number of them when they are read.
        """
        most = knobs.header_limit() + _MOST_REPEATED * sum(self._stored.values())
        if self._logical > most:
            raise BudgetError(
                f"{printable(self.path)}: its tensors repeat the same bytes up to {self._logical} bytes in all; "
                "raise CKPT_HEADER_LIMIT if you trust the file",
                code="PK002",
                path=self.path,
            )

    def _storage(self, name: str, storage: StorageRecord) -> tuple[int, int]:
        try:
            start, length = self.place(storage)
            return (start, length) if storage.view is None else _within(storage, storage.view, start, length)
        except StorageError as error:
            raise self._corrupt("TF003", name, str(error)) from None

    def _corrupt(self, code: str, name: str, reason: str) -> CorruptError:
        return CorruptError(
            f"{printable(self.path)}: {printable(name)}: {reason} (truncated or forged?); get the file again",
            code=code,
            path=self.path,
            tensor=name,
        )


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[bool, int, int]:
    """Return a tensor's row-major flag, element count and span.

    The flag is True for row-major without gaps; the span is the elements from the first to the last.
    """
    numel = 1
    for size in shape:
        numel *= size
    if is_row_major(shape, strides):
        return True, numel, numel
    return False, numel, 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _within(storage: StorageRecord, view: tuple[int, int], start: int, length: int) -> tuple[int, int]:
    """Return the bytes of a view of a storage."""
    begin, size = view[0] * storage.itemsize, view[1] * storage.itemsize
    if begin + size > length:
        raise StorageError(f"a view of bytes {begin} to {begin + size} of a storage of {length}")
    return start + begin, size


def _entry(row: Row) -> TensorEntry:
    if isinstance(row, TensorEntry):
        return row
    stored = ByteRange(row.path or "", row.offset, row.nbytes)
    return TensorEntry(row.dtype, row.shape, (Chunk((0,) * len(row.shape), row.shape, stored),), row.alias_of)


def _info(row: Row) -> TensorInfo:
    return row if isinstance(row, TensorInfo) else info_of(row)
