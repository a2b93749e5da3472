"""Work shared out: in order, about evenly, and ended when one fails."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import knobs
from ckpt_core.storage.workers import check_stop, run, stretches


@given(sizes=st.lists(st.integers(0, 16 << 20), max_size=30), workers=st.integers(1, 5))
def test_stretches_keep_every_item_in_order(sizes, workers):
    with knobs.override(workers=workers):
        shares = stretches(range(len(sizes)), sizes)
    assert [item for share in shares for item in share] == list(range(len(sizes)))
    assert all(shares) and len(shares) <= workers


def test_stretches_are_about_as_long():
    with knobs.override(workers=4):
        shares = stretches(range(100), [1 << 20] * 100)
    assert [len(share) for share in shares] == [25] * 4


def test_results_come_in_the_order_of_the_shares():
    assert run(sum, [[1, 2], [3], [4, 5]]) == [3, 3, 9]


def test_one_failure_ends_the_others_at_their_next_read():
    ended = []

    def work(share):
        if share == [0]:
            raise ValueError("first")
        try:
            for _ in range(1000):
                check_stop()
                time.sleep(0.01)
            ended.append("of itself")
        finally:
            ended.append("ended")

    with pytest.raises(ValueError, match="first"):
        run(work, [[0], [1]])
    assert ended == ["ended"]


def test_the_caller_is_never_stopped():
    check_stop()
    assert run(lambda share: check_stop(), [[1]]) == [None]
