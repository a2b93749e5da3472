"""Boxes read out of any tiling, strides and byte order equal numpy's slices of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import ByteRange, Chunk, CorruptError, DType, Encoding, TensorEntry
from ckpt_core.reading.boxes import read_box
from ckpt_core.reading.slabs import slabs

SHAPES = st.lists(st.integers(1, 5), min_size=0, max_size=4).map(tuple)


@st.composite
def tilings(draw):
    """A shape, and boxes that tile it, made by cutting along random dimensions."""
    shape = draw(SHAPES)
    boxes = [((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 4))) if shape else ():
        index = draw(st.integers(0, len(boxes) - 1))
        dimension = draw(st.integers(0, len(shape) - 1))
        offsets, sizes = boxes[index]
        if sizes[dimension] < 2:
            continue
        cut = draw(st.integers(1, sizes[dimension] - 1))
        first, second = list(sizes), list(sizes)
        first[dimension], second[dimension] = cut, sizes[dimension] - cut
        moved = list(offsets)
        moved[dimension] += cut
        boxes[index : index + 1] = [(offsets, tuple(first)), (tuple(moved), tuple(second))]
    return shape, boxes


def part_of(draw, shape):
    starts = tuple(draw(st.integers(0, size - 1)) for size in shape)
    return starts, tuple(draw(st.integers(1, size - start)) for size, start in zip(shape, starts, strict=True))


def stored(tmp, whole, boxes, *, transposed=False, big=False):
    """The boxes one after the other in a file, and the entry that describes them."""
    chunks, data = [], b""
    for offsets, sizes in boxes:
        piece = whole[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))]
        strides = None
        if transposed and piece.ndim:
            piece = np.ascontiguousarray(piece.T)
            strides = tuple(s // piece.itemsize for s in piece.T.strides)
        raw = piece.astype(piece.dtype.newbyteorder(">")).tobytes() if big else piece.tobytes()
        chunks.append(
            Chunk(offsets, sizes, ByteRange("f", len(data), len(raw)), strides, Encoding(little_endian=not big))
        )
        data += raw
    (tmp / "f").write_bytes(data)
    return ckpt_core.list_files(str(tmp)), TensorEntry(DType.I32, whole.shape, tuple(chunks))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), transposed=st.booleans())
def test_a_box_equals_the_slice(tmp_path_factory, data, transposed):
    shape, boxes = data.draw(tilings())
    whole = np.arange(int(np.prod(shape)), dtype="<i4").reshape(shape)
    files, entry = stored(tmp_path_factory.mktemp("t"), whole, boxes, transposed=transposed)
    offsets, sizes = part_of(data.draw, shape)
    out = bytearray(4 * int(np.prod(sizes)))
    read_box(files, "t", entry, (offsets, sizes), memoryview(out))
    expected = whole[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))]
    assert bytes(out) == expected.tobytes()


@settings(max_examples=30, deadline=None)
@given(data=st.data(), transposed=st.booleans())
def test_big_endian_tensors_are_turned_round(tmp_path_factory, data, transposed):
    shape, boxes = data.draw(tilings())
    whole = np.arange(int(np.prod(shape)), dtype="<i4").reshape(shape)
    files, entry = stored(tmp_path_factory.mktemp("t"), whole, boxes, transposed=transposed, big=True)
    offsets, sizes = part_of(data.draw, shape)
    out = bytearray(4 * int(np.prod(sizes)))
    read_box(files, "t", entry, (offsets, sizes), memoryview(out))
    expected = whole[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))]
    assert bytes(out) == expected.tobytes()


def test_a_hole_is_an_error_and_not_zeros(tmp_path):
    whole = np.ones((4, 2), "<i4")
    files, entry = stored(tmp_path, whole, [((0, 0), (1, 2)), ((2, 0), (2, 2))])
    try:
        read_box(files, "t", entry, ((0, 0), (4, 2)), memoryview(bytearray(32)))
    except CorruptError as error:
        assert "2 of 8 elements are stored nowhere" in error.message
    else:
        raise AssertionError("the hole was read")


def test_replicas_are_read_once(tmp_path):
    whole = np.arange(8, dtype="<i4").reshape(4, 2)
    files, entry = stored(tmp_path, whole, [((0, 0), (4, 2)), ((0, 0), (4, 2))])
    out = bytearray(32)
    read_box(files, "t", entry, ((0, 0), (4, 2)), memoryview(out))
    assert bytes(out) == whole.tobytes()


def test_an_expanded_tensor_repeats_its_row(tmp_path):
    row = np.arange(3, dtype="<i4")
    (tmp_path / "f").write_bytes(row.tobytes())
    chunk = Chunk((0, 0), (5, 3), ByteRange("f", 0, 12), strides=(0, 1))
    out = bytearray(60)
    entry = TensorEntry(DType.I32, (5, 3), (chunk,))
    read_box(ckpt_core.list_files(str(tmp_path)), "t", entry, ((0, 0), (5, 3)), memoryview(out))
    assert bytes(out) == np.broadcast_to(row, (5, 3)).tobytes()


@given(shape=st.lists(st.integers(0, 7), max_size=4).map(tuple), limit=st.integers(4, 200))
def test_slabs_cover_a_shape_in_order_within_the_limit(shape, limit):
    seen = []
    whole = np.arange(int(np.prod(shape))).reshape(shape)
    for offsets, sizes in slabs(shape, DType.F32, limit=limit):
        part = whole[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))]
        assert part.size * 4 <= max(limit, 4) or part.size <= 1
        seen += part.ravel().tolist()
    assert seen == whole.ravel().tolist()


def test_chunks_that_overlap_are_refused_and_what_a_buffer_held_is_never_shown(tmp_path):
    (tmp_path / "x").write_bytes(bytes(64))
    files = ckpt_core.list_files(str(tmp_path))
    chunks = tuple(Chunk((at,), (8,), ByteRange("x", 0, 32)) for at in (0, 4))
    entry = TensorEntry(DType.F32, (16,), chunks)
    with pytest.raises(CorruptError, match="overlap") as caught:
        read_box(files, "w", entry, ((0,), (16,)), memoryview(bytearray(b"SECRET__" * 8)))
    assert caught.value.code == "CV004"
