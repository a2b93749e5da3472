"""Tables make entries when they are asked for, and infos say the same as entries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import ByteRange, Chunk, DType, Encoding, TensorEntry, TensorTable
from ckpt_core.schema.tensors import info_of, is_row_major, row_major_strides

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def entry(path="f", offset=0, shape=(2, 3), **chunk):
    stored = ByteRange(path, offset, 24)
    return TensorEntry(DType.F32, shape, (Chunk((0,) * len(shape), shape, stored, **chunk),))


@given(SHAPES)
def test_row_major_strides_are_row_major(shape):
    assert is_row_major(shape, row_major_strides(shape))


def test_a_transposed_matrix_is_not_row_major():
    assert not is_row_major((3, 2), (1, 3))
    assert is_row_major((1, 5), (77, 1)), "a dimension of one element is never stepped along"


def test_entries_are_made_on_demand():
    made = []

    def make(row):
        made.append(row)
        return entry(offset=row)

    table = TensorTable({"a": 0, "b": 24}, entry=make, info=lambda row: info_of(entry(offset=row)))
    assert list(table) == ["a", "b"] and len(table) == 2 and "a" in table
    assert [info.offset for _, info in table.infos()] == [0, 24]
    assert made == []
    assert table["b"].chunks[0].stored.offset == 24
    assert made == [24]


def test_an_outline_has_a_place_only_where_one_read_gives_the_tensor():
    assert info_of(entry()).path == "f"
    assert info_of(entry(at=8)).offset == 8
    assert info_of(entry(strides=(1, 2))).path is None
    assert info_of(entry(encoding=Encoding(little_endian=False))).path is None
    assert info_of(entry(encoding=Encoding("zstd"))).path is None
    half = TensorEntry(DType.F32, (4, 3), entry().chunks)
    assert info_of(half).path is None


def test_join_keeps_order_and_the_first_of_a_name():
    one = TensorTable.of({"a": entry("1"), "b": entry("1")})
    other = TensorTable.of({"b": entry("2"), "c": entry("2")})
    joined = TensorTable.join([one, other])
    assert [(name, o.path) for name, o in joined.infos()] == [("a", "1"), ("b", "1"), ("c", "2")]
    assert joined["c"] == entry("2")


def test_renaming_follows_aliases_and_drops_those_that_lead_out():
    twin = TensorEntry(DType.F32, (2, 3), entry().chunks, alias_of="a")
    table = TensorTable.of({"a": entry(), "b": twin})
    both = table.renamed({"a": "x", "b": "y"})
    assert both["y"].alias_of == both.info("y").alias_of == "x"
    assert table.renamed({"b": "y"})["y"].alias_of is None
    with pytest.raises(KeyError):
        both["a"]
