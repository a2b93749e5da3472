"""The tensor table of a distributed checkpoint.

Every box has the range of the file that holds its item.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckpt_core import ByteRange, Chunk, DType, Encoding, TensorEntry, TensorInfo, TensorTable
from ckpt_core.codecs import TORCH_ZIP
from ckpt_fsdp.dcp.metadata import StoredBox, StoredTensor

_RANK = re.compile(r"__(\d+)_\d+\.distcp")

_MOST_KEPT = 16
"""Entries that are kept: who reads a tensor in slabs asks for its entry each time, several workers at once."""

_Row = StoredTensor | TensorEntry
"""A tensor of the metadata; or an entry, for one that lies within an item that is no tensor."""


class _File(NamedTuple):
    path: str
    rank: int | None


class DcpTable:
    """Makes entries of what the metadata says.

    `root` is the checkpoint's directory in the listing.
    """

    def __init__(self, root: str) -> None:
        self._prefix = f"{root}/" if root else ""
        self._files: dict[str, _File] = {}
        self._made: dict[int, tuple[StoredTensor, TensorEntry]] = {}
        self._encodings = {dtype: Encoding(TORCH_ZIP, dtype=dtype) for dtype in DType}

    def of(self, tensors: Mapping[str, StoredTensor], inside: Mapping[str, TensorEntry]) -> TensorTable:
        """Return the table of tensors and of those inside items."""
        rows: dict[str, _Row] = {**tensors, **inside}
        return TensorTable(rows, entry=self.entry, info=_info)

    def entry(self, row: _Row) -> TensorEntry:
        """Return the entry of a row.

        A box without an item is left out: a hole, as for torch.
        """
        if isinstance(row, TensorEntry):
            return row
        known = self._made.get(id(row))
        if known is not None and known[0] is row:
            return known[1]
        made = self._make(row)
        if len(self._made) >= _MOST_KEPT:
            self._made = {}
        self._made[id(row)] = row, made
        return made

    def _make(self, row: StoredTensor) -> TensorEntry:
        encoding = self._encodings[row.dtype]
        chunks = [
            Chunk(_wide(row, offsets), _wide(row, sizes), stored, encoding=encoding, owner=rank)
            for part in row.parts
            for offsets, sizes, stored, rank in self._boxes(part)
        ]
        return TensorEntry(row.dtype, _wide(row, row.shape), tuple(chunks))

    def _boxes(self, part: StoredBox) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], ByteRange, int | None]]:
        boxes, rows, table = part
        places, paths, starts, lengths = table.places, table.paths, table.offsets, table.lengths
        by_place = {places[row]: row for row in rows}
        for offsets, sizes in dict.fromkeys(zip(boxes[::2], boxes[1::2], strict=True)):
            row = by_place.get(offsets)
            if row is not None:
                path, rank = self._file(table.files[paths[row]])
                yield offsets, sizes, ByteRange(path, starts[row], lengths[row]), rank

    def _file(self, relative: str) -> _File:
        file = self._files.get(relative)
        if file is None:
            file = self._files[relative] = _File(self._prefix + relative, rank_of_shard(relative))
        return file


def rank_of_shard(path: str) -> int | None:
    """Return the rank in the name of a `.distcp` file.

    None where the name has none.
    """
    rank = _RANK.fullmatch(path.rpartition("/")[2])
    return int(rank[1]) if rank else None


def _info(row: _Row) -> TensorInfo:
    shape = row.shape if isinstance(row, TensorEntry) else _wide(row, row.shape)
    return TensorInfo(row.dtype, shape, None, 0)


def _wide(row: StoredTensor, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Return numbers along each dimension, in elements of ours.

    Torch packs two in a byte of the last one.
    """
    return (*numbers[:-1], numbers[-1] * 2) if row.packed and numbers else numbers
