"""Chunks that tile a tensor pass; a hole, an overlap, a chunk outside its tensor or its file is named."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import ByteRange, Chunk, Component, DType, TensorEntry, TensorTable
from ckpt_core.reading import coverage
from ckpt_core.reading.coverage import check_component


def findings(tmp_path, shape, boxes, *, size=None, path="f"):
    total = sum(4 * _count(sizes) for _, sizes in boxes)
    (tmp_path / "f").write_bytes(b"\0" * (total if size is None else size))
    chunks, at = [], 0
    for offsets, sizes in boxes:
        chunks.append(Chunk(offsets, sizes, ByteRange(path, at, 4 * _count(sizes))))
        at += 4 * _count(sizes)
    table = TensorTable.of({"w": TensorEntry(DType.F32, shape, tuple(chunks))})
    return list(check_component(ckpt_core.list_files(str(tmp_path)), Component("model", table)))


def _count(sizes):
    count = 1
    for size in sizes:
        count *= size
    return count


def codes(found):
    return {finding.code for finding in found}


def test_rows_in_order_pass(tmp_path):
    assert not findings(tmp_path, (4, 2), [((0, 0), (1, 2)), ((1, 0), (3, 2))])


def test_a_grid_passes(tmp_path):
    boxes = [((r, c), (2, 3)) for r in (0, 2) for c in (0, 3)]
    assert not findings(tmp_path, (4, 6), boxes)


def test_replicas_pass(tmp_path):
    assert not findings(tmp_path, (4,), [((0,), (4,)), ((0,), (4,))])


def test_a_scalar_and_an_empty_tensor_pass(tmp_path):
    assert not findings(tmp_path, (), [((), ())])
    assert not findings(tmp_path, (0, 3), [])


def test_a_hole_is_named_with_its_size(tmp_path):
    found = findings(tmp_path, (4, 2), [((0, 0), (1, 2)), ((2, 0), (2, 2))])
    assert codes(found) == {"CV005"} and found[0].tensor == "w"
    assert found[0].message == "w: 2 of 8 elements are stored nowhere: [1:2, 0:2]"


def test_several_holes_are_counted(tmp_path):
    (found,) = findings(tmp_path, (6, 2), [((1, 0), (2, 2)), ((4, 0), (2, 1))])
    assert found.message.endswith("[0:1, 0:2] and 2 more boxes")


def test_no_chunk_at_all_is_a_hole(tmp_path):
    (found,) = findings(tmp_path, (4,), [])
    assert (found.code, found.message) == ("CV005", "w: 4 of 4 elements are stored nowhere: [0:4]")
    (scalar,) = findings(tmp_path, (), [])
    assert scalar.message == "w: 1 of 1 elements are stored nowhere: ()"


def test_a_partial_overlap_is_an_error(tmp_path):
    assert codes(findings(tmp_path, (4,), [((0,), (3,)), ((2,), (2,))])) == {"CV004"}


def test_a_chunk_outside_its_tensor_is_an_error(tmp_path):
    assert codes(findings(tmp_path, (4,), [((0,), (2,)), ((3,), (2,))])) == {"CV003"}
    assert codes(findings(tmp_path, (4,), [((-1,), (5,))])) == {"CV003"}


def test_a_chunk_beyond_its_file_is_an_error(tmp_path):
    found = findings(tmp_path, (4,), [((0,), (4,))], size=15)
    assert codes(found) == {"CV002"} and "16" in found[0].message and "15" in found[0].message


def test_a_missing_file_is_an_error(tmp_path):
    assert codes(findings(tmp_path, (4,), [((0,), (4,))], path="gone")) == {"CV001"}
    found = findings(tmp_path, (4, 2), [((0, 0), (2, 2)), ((2, 0), (2, 2))], path="gone")
    assert [finding.message.partition(" is ")[0] for finding in found] == [
        "gone: tensor w[0:2, 0:2]",
        "gone: tensor w[2:4, 0:2]",
    ]


@given(data=st.data())
def test_removing_or_shifting_any_chunk_of_a_tiling_is_found(tmp_path_factory, data):
    columns = data.draw(st.integers(1, 4))
    cuts = sorted(data.draw(st.sets(st.integers(1, 7), max_size=4)) | {0, 8})
    boxes = [((a, 0), (b - a, columns)) for a, b in itertools.pairwise(cuts)]
    tmp = tmp_path_factory.mktemp("c")
    assert not findings(tmp, (8, columns), boxes)
    index = data.draw(st.integers(0, len(boxes) - 1))
    assert findings(tmp, (8, columns), boxes[:index] + boxes[index + 1 :])
    (row, _), sizes = boxes[index]
    moved = boxes[:index] + [((row + 1, 0), sizes)] + boxes[index + 1 :]
    assert findings(tmp, (8, columns), moved)


@given(
    boxes=st.lists(
        st.tuples(st.tuples(*[st.integers(0, 6)] * 2), st.tuples(*[st.integers(1, 3)] * 2)), max_size=8, unique=True
    )
)
def test_an_overlap_is_found_wherever_two_boxes_share_an_element(tmp_path_factory, boxes):
    shared = any(
        all(a < b + m and b < a + n for a, n, b, m in zip(*first, *second, strict=True))
        for first, second in itertools.combinations(boxes, 2)
    )
    found = codes(findings(tmp_path_factory.mktemp("c"), (9, 9), boxes))
    assert ("CV004" in found) == shared


def test_many_columns_are_compared_with_their_neighbours_only(tmp_path, monkeypatch):
    compared = []
    intersects = coverage._intersects
    monkeypatch.setattr(coverage, "_intersects", lambda *pair: compared.append(pair) or intersects(*pair))
    assert not findings(tmp_path, (2, 2000), [((0, at), (2, 2)) for at in range(0, 2000, 2)])
    assert not findings(tmp_path, (2000, 2), [((at, 0), (2, 2)) for at in range(0, 2000, 2)])
    assert len(compared) < 2000
