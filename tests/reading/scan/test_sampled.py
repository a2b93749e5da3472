"""A sample: whole elements only, each block once, a record's checksum where one block has it, an end by the clock."""

from threading import Lock

from hypothesis import given
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import knobs
from ckpt_core.reading.scan.sampled import sampled_walk
from ckpt_core.schema.verification import Sampling
from ckpt_core.storage.digests import BLOCK
from tests.reading.short_files import ShortFiles

SIZE = 3 * BLOCK + 12345
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)


class Part:
    def __init__(self, start, end, width=1, path="x.bin"):
        self.path, self.start, self.end, self.width = path, start, end, width
        self.parts, self.error, self._lock = [], None, Lock()

    def see_part(self, data):
        with self._lock:
            self.parts.append(bytes(data))

    see = see_part

    def fail(self, error):
        self.error = error

    def findings(self):
        return ()


def listing(folder, *sizes):
    for number, size in enumerate(sizes):
        (folder / f"{'xyz'[number]}.bin").write_bytes(CONTENT[:size])
    return ckpt_core.list_files(str(folder))


widths = st.sampled_from([1, 2, 4, 8, 16])
places = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE // 16), widths).map(
    lambda found: Part(found[0], min(found[0] + found[1] * 16, found[0] + (SIZE - found[0]) // 16 * 16), found[2])
)


@given(parts=st.lists(places, max_size=5), workers=st.integers(1, 3), seed=st.integers(0, 3))
def test_a_sample_of_everything_sees_each_element_once(tmp_path_factory, parts, workers, seed):
    files = listing(tmp_path_factory.mktemp("walk"), SIZE)
    parts = [part for part in parts if part.end > part.start]
    with knobs.override(workers=workers):
        tally = sampled_walk(files, parts, [], Sampling(seed=seed))
    assert (tally.read, tally.errors) == (tally.pieces, [])
    for part in parts:
        assert all(len(piece) % part.width == 0 for piece in part.parts)
        assert sum(map(len, part.parts)) == part.end - part.start
        if workers == 1:
            assert b"".join(part.parts) == CONTENT[part.start : part.end]


def test_a_share_reads_that_many_blocks_of_each_file(tmp_path):
    files = listing(tmp_path, SIZE, 2 * BLOCK, 5)
    told = []
    tally = sampled_walk(
        files, [], [], Sampling(0.25), whole=["x.bin", "y.bin", "z.bin"], on_block=lambda *seen: told.append(seen[:2])
    )
    assert (tally.pieces, tally.chosen, tally.read, tally.files) == (7, 3, 3, 3)
    assert sorted(path for path, _ in told) == ["x.bin", "y.bin", "z.bin"]
    assert {path: set(numbers) for path, numbers in tally.blocks.items()} == {p: {n} for p, n in told}


def test_a_record_is_summed_where_one_block_has_it_and_only_then(tmp_path):
    files = listing(tmp_path, SIZE)
    inside, across = Part(10, 500), Part(BLOCK - 100, BLOCK + 100)
    tally = sampled_walk(files, [], [inside, across], Sampling(1.0))
    assert tally.sums == [inside]
    assert inside.parts == [CONTENT[10:500]] and across.parts == []


def test_no_time_reads_one_block_all_the_same(tmp_path):
    files = listing(tmp_path, SIZE, SIZE)
    tally = sampled_walk(files, [Part(0, SIZE), Part(0, SIZE, path="y.bin")], [], Sampling(seconds=1e-9))
    assert (tally.read, tally.chosen) == (1, 8)


def test_a_read_that_fails_is_told_to_those_who_wanted_it_and_else_kept(tmp_path):
    files = ShortFiles(listing(tmp_path, SIZE, 100))
    early, late = Part(0, 10), Part(2 * BLOCK, SIZE)
    tally = sampled_walk(files, [early, late], [], Sampling())
    assert early.error is None and late.error is not None and tally.errors == []
    assert len(sampled_walk(files, [], [], Sampling(), whole=["x.bin"], on_block=lambda *seen: None).errors) == 3
