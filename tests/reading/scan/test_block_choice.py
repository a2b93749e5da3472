"""Which blocks a sample has: every file's, as many as were asked for, evenly spread, the same for the same seed."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.reading.scan.block_choice import Blocks, choice, spread, taken
from ckpt_core.storage.digests import BLOCK

counts = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 60), max_size=6)
shares = st.floats(0, 1, exclude_min=True)


@given(count=st.integers(1, 300), seed=st.text(max_size=4))
def test_spreading_gives_each_number_once(count, seed):
    assert sorted(spread(count, seed)) == list(range(count))


@given(count=st.integers(20, 2000), seed=st.text(max_size=4), part=st.integers(2, 10))
def test_the_first_few_leave_no_wide_gap(count, seed, part):
    first = sorted(islice(spread(count, seed), count // part))
    gaps = [after - before for before, after in zip(first, [*first[1:], first[0] + count], strict=True)]
    assert max(gaps) <= 8 * part


@given(counts=counts, share=shares, seed=st.integers(0, 9))
def test_a_choice_has_the_share_of_each_file_and_at_least_one_block(counts, share, seed):
    chosen = list(choice(counts, share, seed))
    assert len(set(chosen)) == len(chosen)
    assert chosen == list(choice(counts, share, seed))
    for name, count in counts.items():
        numbers = [number for other, number in chosen if other == name]
        assert all(0 <= number < count for number in numbers)
        assert len(numbers) == (taken(count, share) if count else 0)
        assert not count or max(1, count * share) <= len(numbers) <= max(1, count * share + 1)


@given(counts=counts, share=shares, stop=st.integers(0, 200))
def test_wherever_it_stops_every_file_was_read_to_the_same_part(counts, share, stop):
    chosen = list(choice(counts, share, 0))
    read = chosen[:stop]
    parts = [
        (sum(1 for other, _ in read if other == name) + slack) / taken(count, share)
        for slack in (0.5, -0.5)
        for name, count in counts.items()
        if count
    ]
    half = len(parts) // 2
    assert not parts or min(parts[:half]) >= max(parts[half:]) - 1e-9


def test_another_seed_chooses_other_blocks():
    chosen = {seed: frozenset(choice({"x": 1000}, 0.01, seed)) for seed in range(20)}
    assert len(set(chosen.values())) > 15


@given(spans=st.lists(st.tuples(st.integers(0, 9 * BLOCK), st.integers(1, 3 * BLOCK)), max_size=8))
def test_the_blocks_are_those_that_hold_something_wanted(spans):
    wanted = sorted((start, start + length) for start, length in spans)
    blocks = Blocks(wanted)
    expected = {block for start, end in wanted for block in range(start // BLOCK, (end - 1) // BLOCK + 1)}
    assert [blocks[index] for index in range(len(blocks))] == sorted(expected)
