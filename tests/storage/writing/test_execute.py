import os
import tempfile
from itertools import pairwise, product
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import knobs
from ckpt_core.errors import CorruptError
from ckpt_core.layouts.in_memory import checkpoint_of
from ckpt_core.reading.digests import fingerprint
from ckpt_core.reading.selection import select
from ckpt_core.schema.dtypes import BY_CODE
from ckpt_core.schema.plans import FilePlan, LateBytes, Literal, TensorBytes, WritePlan
from ckpt_core.storage.writing.execute import execute
from ckpt_core.storage.writing.local_files import LocalFiles


@pytest.fixture
def weights():
    return {"a": np.arange(1000, dtype="f4"), "b": np.arange(1000, 2000, dtype="f4")}


def tensor(name):
    return TensorBytes("model", name, 4000)


def rows(name, start, count):
    return TensorBytes("model", name, 4 * count, ((start,), (count,)))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("slab", [4, 1000, 1 << 20])
def test_sections_lie_end_to_end_whoever_writes_them(weights, tmp_path, workers, slab):
    plan = WritePlan(
        (
            FilePlan("x/y/1", (Literal(b"head"), tensor("b"), LateBytes(4, lambda crcs: b"late"), tensor("a"))),
            FilePlan("2", (Literal(b""),)),
        )
    )
    with knobs.override(workers=workers, slab_bytes=slab):
        written = execute(plan, checkpoint_of(weights), LocalFiles(plan, str(tmp_path)))
    expected = b"head" + weights["b"].tobytes() + b"late" + weights["a"].tobytes()
    assert (tmp_path / "x" / "y" / "1").read_bytes() == expected
    assert (tmp_path / "2").read_bytes() == b""
    assert set(written) == {("model", "a"), ("model", "b")}
    assert plan.files[0].size == len(expected)


def test_late_bytes_know_the_checksums_of_their_file(weights, tmp_path):
    seen = {}

    def make(crcs):
        seen.update(crcs)
        return b""

    plan = WritePlan((FilePlan("f", (tensor("a"), LateBytes(0, make)), checksums=True),))
    execute(plan, checkpoint_of(weights), LocalFiles(plan, str(tmp_path)))
    assert seen == {tensor("a"): crc32(weights["a"].tobytes())}


def test_a_tensor_of_another_length_than_planned_is_refused(weights, tmp_path):
    plan = WritePlan((FilePlan("f", (TensorBytes("model", "a", 4004),)),))
    with pytest.raises(CorruptError, match="gave 4000 bytes, 4004 were planned"):
        execute(plan, checkpoint_of(weights), LocalFiles(plan, str(tmp_path)))


def test_a_tensor_goes_to_every_place_it_is_planned_at_and_is_read_once(weights, tmp_path):
    source = checkpoint_of(weights)
    reads = []
    stream = source.stream
    source.stream = lambda component, name: (reads.append(name), stream(component, name))[1]
    plan = WritePlan(
        (FilePlan("f", (tensor("a"), rows("a", 0, 300))), FilePlan("g", (rows("a", 300, 700), tensor("a"))))
    )
    written = execute(plan, source, LocalFiles(plan, str(tmp_path)))
    data = weights["a"].tobytes()
    assert (tmp_path / "f").read_bytes() == data + data[:1200]
    assert (tmp_path / "g").read_bytes() == data[1200:] + data
    assert reads == ["a"]
    assert written["model", "a"].source == written["model", "a"].target == fingerprint(source, "model").tensors["a"]


@st.composite
def tensors_in_boxes(draw):
    """A shape, and its rows cut into boxes, some of them empty, at any level of its dimensions."""
    shape = tuple(draw(st.lists(st.integers(1, 6), max_size=3)))
    depth = draw(st.integers(0, max(len(shape) - 1, 0)))
    boxes = []
    for index in product(*(range(size) for size in shape[:depth])):
        cuts = sorted(draw(st.lists(st.integers(0, shape[depth]), max_size=3))) if shape else []
        for start, stop in pairwise([0, *cuts, shape[depth]] if shape else []):
            inner = shape[depth + 1 :]
            boxes.append(((*index, start, *(0 for _ in inner)), (*(1 for _ in index), stop - start, *inner)))
    return shape, boxes or [((), ())]


@given(tensors_in_boxes(), st.sampled_from([4, 12, 1 << 20]), st.integers(1, 3), st.sampled_from([None, "BF16"]))
def test_boxes_of_a_tensor_are_what_reading_them_gives(made, slab, workers, dtype):
    shape, boxes = made
    source = checkpoint_of({"a": np.arange(np.prod(shape, dtype=int), dtype="f4").reshape(shape)})
    view = select(source, dtypes=[("*", BY_CODE[dtype])] if dtype else [])
    width = 2 if dtype else 4
    sections = [TensorBytes("model", "a", width * int(np.prod(box[1], dtype=int)), box) for box in boxes]
    seen = {}
    late = LateBytes(0, lambda crcs: seen.update(crcs) or b"")
    plan = WritePlan((FilePlan("f", (*sections[::2], late), checksums=True), FilePlan("g", tuple(sections[1::2]))))
    with tempfile.TemporaryDirectory() as folder, knobs.override(workers=workers, slab_bytes=slab):
        execute(plan, view, LocalFiles(plan, folder))
        expected = [bytes(view.read("model", "a", box=section.box)) for section in sections]
        assert Path(folder, "f").read_bytes() == b"".join(expected[::2])
        assert Path(folder, "g").read_bytes() == b"".join(expected[1::2])
    assert seen == {section: crc32(data) for section, data in zip(sections[::2], expected[::2], strict=True)}


@pytest.mark.parametrize("box", [((0, 1), (3, 2)), ((2, 0), (2, 4)), ((0, -1), (1, 4)), ((0, 1), (2, 4))])
def test_a_box_that_is_no_stretch_of_rows_is_refused_before_anything_is_written(box, tmp_path):
    plan = WritePlan((FilePlan("f", (TensorBytes("model", "a", 4 * box[1][0] * box[1][1], box),)),))
    with pytest.raises(ValueError, match="is no stretch of its rows"):
        execute(plan, checkpoint_of({"a": np.zeros((3, 4), "f4")}), LocalFiles(plan, str(tmp_path)))
    assert os.listdir(tmp_path) == []


def test_a_box_of_another_length_than_planned_is_refused(weights, tmp_path):
    plan = WritePlan((FilePlan("f", (TensorBytes("model", "a", 44, ((0,), (10,))),)),))
    with pytest.raises(CorruptError, match="a box of it has 40 bytes, 44 were planned"):
        execute(plan, checkpoint_of(weights), LocalFiles(plan, str(tmp_path)))


def test_late_bytes_of_another_length_than_planned_are_refused(weights, tmp_path):
    plan = WritePlan((FilePlan("f", (LateBytes(3, lambda crcs: b"four"),)),))
    with pytest.raises(ValueError, match="4 late bytes, 3 were planned"):
        execute(plan, checkpoint_of(weights), LocalFiles(plan, str(tmp_path)))


def test_memory_stays_at_a_few_slabs_whatever_the_tensor_has(tmp_path):
    import tracemalloc

    big = {"a": np.zeros(8 << 20, "f4")}
    plan = WritePlan((FilePlan("f", (TensorBytes("model", "a", 32 << 20),)),))
    checkpoint = checkpoint_of(big)
    tracemalloc.start()
    try:
        with knobs.override(workers=1):
            execute(plan, checkpoint, LocalFiles(plan, str(tmp_path)))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
