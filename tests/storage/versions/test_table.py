"""Tables and indexes: what is written is read, and what is not sound is refused."""

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.errors import CorruptError
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.versions import table as tables
from ckpt_core.storage.versions.index import index_of, parse_index
from ckpt_core.storage.versions.table import Piece, Segment, content_of, encode_table

HOLDER = f"objects/{'a' * 32}/pack-000000"


def parse_table(data, key):
    """Read a table by the digest of its own bytes."""
    return tables.parse_table(data, key, hashlib.sha256(data).hexdigest())


def piece(offset, length, kind="bytes"):
    return Piece(kind, hashlib.sha256(f"{offset} {length}".encode()).digest(), ByteRange(HOLDER, offset, length))


@given(st.lists(st.lists(st.integers(1, 50), max_size=6), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_every_stretch_of_every_file_is_where_its_pieces_lie(lengths, chance):
    """Files of pieces that lie in any order; each byte is told by its place in the object."""
    flat = [(file, number) for file, own in enumerate(lengths) for number in range(len(own))]
    order = list(flat)
    chance.shuffle(order)
    places, at = {}, 0
    for file, number in order:
        places[file, number] = at
        at += lengths[file][number]
    pieces = [piece(places[one], lengths[one[0]][one[1]]) for one in flat]
    numbers = {one: index for index, one in enumerate(flat)}
    files = {
        f"f{file}": (sum(own), [Segment(numbers[file, number], 0, size) for number, size in enumerate(own)])
        for file, own in enumerate(lengths)
    }
    table = parse_table(encode_table(files, pieces, {HOLDER: at}, {"seal": b"xyz"}), "table")
    assert bytes(table.beside["seal"]) == b"xyz"
    assert list(table.pieces()) == pieces
    assert table.content() == content_of(files, pieces)
    for file, own in enumerate(lengths):
        bytes_of = [
            place
            for number, size in enumerate(own)
            for place in range(places[file, number], places[file, number] + size)
        ]
        start = chance.randint(0, len(bytes_of))
        length = chance.randint(0, len(bytes_of) - start)
        found = [byte for one in table.stored(f"f{file}", start, length) for byte in range(one.offset, one.end)]
        assert found == bytes_of[start : start + length]


def test_equal_content_is_told_wherever_its_pieces_lie():
    files = {"f": (9, [Segment(0, 0, 4), Segment(1, 0, 5)])}
    one, other = [piece(0, 4), piece(4, 5)], [piece(0, 4), piece(4, 5)._replace(stored=ByteRange(HOLDER, 90, 5))]
    assert content_of(files, one) == content_of(files, other)
    assert content_of(files, one) != content_of({"g": files["f"]}, one)
    assert content_of(files, one) != content_of(files, [piece(0, 4), piece(5, 5)])


def sound():
    return encode_table({"f": (9, [Segment(0, 0, 4), Segment(1, 0, 5)])}, [piece(0, 4), piece(4, 5)], {HOLDER: 9}, {})


@pytest.mark.parametrize("cut", range(0, len(sound()), 7))
def test_a_cut_table_is_refused(cut):
    with pytest.raises(CorruptError) as raised:
        parse_table(sound()[:cut], "table")
    assert raised.value.code == "VS002"


@pytest.mark.parametrize(
    ("files", "holder"),
    [({"../f": (4, [Segment(0, 0, 4)])}, HOLDER), ({"f": (4, [Segment(0, 0, 4)])}, "objects/../../secret")],
)
def test_no_name_leads_out_of_a_store(files, holder):
    pieces = [Piece("bytes", b"d" * 32, ByteRange(holder, 0, 4))]
    with pytest.raises(CorruptError):
        parse_table(encode_table(files, pieces, {holder: 4}, {}), "table")


@pytest.mark.parametrize("segments", [[Segment(0, 2, 4)], [Segment(7, 0, 4)], [Segment(0, 0, 3)]])
def test_a_table_that_contradicts_itself_is_refused_when_it_is_read(segments):
    table = parse_table(encode_table({"f": (4, segments)}, [piece(0, 4)], {HOLDER: 4}, {}), "table")
    with pytest.raises(CorruptError):
        list(table.stored("f", 0, 4))


def test_another_table_than_the_one_that_was_stored_is_refused():
    with pytest.raises(CorruptError, match="SHA-256"):
        tables.parse_table(sound(), "table", "0" * 64)


def test_an_index_finds_what_it_has_and_nothing_else():
    chance = random.Random(0)
    known = {chance.randbytes(32): ByteRange(HOLDER, number, 1) for number in range(200)}
    index = parse_index(index_of(known, {HOLDER: 200}), "index")
    assert dict(index) == known
    assert all(index.find(digest, 1) == stored for digest, stored in known.items())
    assert all(index.find(chance.randbytes(32), 1) is None for _ in range(50))
    with pytest.raises(CorruptError):
        parse_index(index_of(known, {HOLDER: 200})[:-3], "index")


def test_an_index_of_which_one_byte_is_another_is_refused():
    data = bytearray(index_of({b"d" * 32: ByteRange(HOLDER, 0, 4)}, {HOLDER: 9}))
    data[-40] ^= 1
    with pytest.raises(CorruptError):
        parse_index(bytes(data), "index")


@pytest.mark.parametrize("size", [3, 5])
def test_a_row_of_another_length_than_the_piece_is_refused(size):
    index = parse_index(index_of({b"d" * 32: ByteRange(HOLDER, 0, 4)}, {HOLDER: 9}), "index")
    with pytest.raises(CorruptError, match="4 bytes instead of"):
        index.find(b"d" * 32, size)


@pytest.mark.parametrize(
    ("holder", "offset"), [(HOLDER, 6), ("objects/../../secret", 0), ("/etc/passwd", 0), ("tables/x", 0)]
)
def test_a_row_that_leads_out_of_its_object_or_of_the_store_is_refused(holder, offset):
    data = index_of({b"d" * 32: ByteRange(holder, offset, 4)}, {holder: 9})
    with pytest.raises(CorruptError):
        parse_index(data, "index").find(b"d" * 32, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("files", [[7, 9, 2]]),
        ("files", [["f", "9", 2]]),
        ("files", [["f", -9, 2]]),
        ("files", {"f": 9}),
        ("objects", [[HOLDER, None]]),
        ("objects", []),
        ("kinds", []),
        ("kinds", [7]),
        ("pieces", -1),
        ("pieces", 2.0),
        ("segments", 1 << 62),
        ("beside", [["seal", -1]]),
        ("beside", 5),
    ],
)
def test_a_header_that_lies_is_one_clear_line(name, value):
    data = sound()
    size = int.from_bytes(data[:8], "little")
    text = json.dumps({**json.loads(data[8 : 8 + size]), name: value}).encode()
    with pytest.raises(CorruptError, match="not the table of a version"):
        parse_table(len(text).to_bytes(8, "little") + text + data[8 + size :], "table")


def test_a_piece_that_leaves_its_object_is_refused_when_it_is_read():
    table = parse_table(encode_table({"f": (4, [Segment(0, 0, 4)])}, [piece(7, 4)], {HOLDER: 9}, {}), "table")
    with pytest.raises(CorruptError):
        list(table.stored("f", 0, 4))
