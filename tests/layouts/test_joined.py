"""What ranks hold, joined: rank 0 knows every box, any other its own, and each box is written by one rank."""

import numpy as np

from ckpt_core.layouts.in_memory import LiveCheckpoint
from ckpt_core.layouts.joined import joined
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import TensorRef
from ckpt_core.schema.tensors import ByteRange, Chunk, Encoding, TensorEntry, TensorTable
from tests.storage.ranks_in_threads import in_ranks

WORLD, ROWS, WIDE = 4, 8, 1 << 17


def entry(name, first, rows, columns):
    stored = ByteRange(name, 0, rows * columns * 4)
    chunk = Chunk((first, 0), (rows, columns), stored, encoding=Encoding("memory"))
    return TensorEntry(DType.F32, (ROWS, columns), (chunk,))


def held(rank):
    """Rows of one tensor; and of two more, small and large, the half that two ranks have."""
    share, half = ROWS // WORLD, rank // 2 * (ROWS // 2)
    entries = {
        "rows": entry("rows", rank * share, share, 3),
        "small": entry("small", half, ROWS // 2, 3),
        "large": entry("large", half, ROWS // 2, WIDE),
        "large too": entry("large too", half, ROWS // 2, WIDE),
    }
    memory = {name: np.zeros(one.chunks[0].sizes, "f4") for name, one in entries.items()}
    state = {name: TensorRef(name) for name in entries}
    return LiveCheckpoint([Component("model", TensorTable.of(entries), state)], memory)


def test_each_box_has_one_owner_whom_all_that_hold_it_know():
    every = in_ranks(WORLD, lambda ranks: joined(held(ranks.rank), ranks))
    tables = [one.component("model").tensors for one in every]
    assert [len(table["rows"].chunks) for table in tables] == [4, 1, 1, 1]
    assert [len(table["large"].chunks) for table in tables] == [2, 1, 1, 1]
    for name in tables[0]:
        known = {(chunk.offsets, chunk.sizes): chunk.owner for chunk in tables[0][name].chunks}
        for table in tables[1:]:
            assert all(known[chunk.offsets, chunk.sizes] == chunk.owner for chunk in table[name].chunks), name
        boxes = [box for one in every for box in one.own.component("model").tensors if box.split("@")[0] == name]
        assert len(boxes) == len(set(boxes)) == len(known), name


def test_of_replicas_small_ones_are_the_lowest_ranks_and_large_ones_are_dealt_out():
    (first, *_) = in_ranks(WORLD, lambda ranks: joined(held(ranks.rank), ranks))
    owners = {name: [chunk.owner for chunk in one.chunks] for name, one in first.component("model").tensors.items()}
    assert owners["small"] == [0, 2]
    assert sorted(map(sorted, zip(owners["large"], owners["large too"], strict=True))) == [[0, 1], [2, 3]]


def test_only_rank_0_is_told_what_others_hold():
    def told(ranks):
        texts = []
        met = ranks._met
        ranks._met = lambda value, wanted: texts.append(met(value, wanted)) or texts[-1]
        joined(held(ranks.rank), ranks)
        return sum(str(one).count("rows") for one in texts)

    assert in_ranks(WORLD, told) == [WORLD, 0, 0, 0]


def test_rank_0_hears_all_and_deals_to_each():
    def work(ranks):
        heard = ranks.to_leader(ranks.rank)
        return heard, ranks.dealt([10 * one for one in heard] if heard else None), ranks.from_leader(ranks.rank)

    assert in_ranks(3, work) == [([0, 1, 2], 0, 0), (None, 10, 0), (None, 20, 0)]
