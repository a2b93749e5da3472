"""Tables of tensors in flat spaces and in rank files.

Their entries are made when they are looked at.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ckpt_core import TensorEntry, TensorInfo, TensorTable
from ckpt_fsdp.deepspeed.zero.partitions import FlatStretch, Space


class Row(NamedTuple):
    """A parameter in a space, or a stored tensor.

    The latter is in a file's own table; `alias_of` names the row that it is tied to.
    """

    space: Space | None
    place: FlatStretch | None
    table: TensorTable | None = None
    name: str = ""
    alias_of: str | None = None


def in_space(space: Space, place: FlatStretch) -> Row:
    return Row(space, place)


def in_file(table: TensorTable, name: str, alias_of: str | None = None) -> Row:
    return Row(None, None, table, name, alias_of)


def tied(rows: Mapping[str, Row], name: str) -> Row:
    """Return a row for another name of a row."""
    return rows[name]._replace(alias_of=rows[name].alias_of or name)


def table_of(rows: Mapping[str, Row]) -> TensorTable:
    return TensorTable(rows, entry=_entry, info=_info)


def _entry(row: Row) -> TensorEntry:
    if row.space is not None and row.place is not None:
        entry = row.space.entry(row.place)
    else:
        assert row.table is not None
        entry = row.table[row.name]
    return TensorEntry(entry.dtype, entry.shape, entry.chunks, row.alias_of)


def _info(row: Row) -> TensorInfo:
    if row.space is not None and row.place is not None:
        info = row.space.info(row.place)
    else:
        assert row.table is not None
        info = row.table.info(row.name)
    return info._replace(alias_of=row.alias_of)
