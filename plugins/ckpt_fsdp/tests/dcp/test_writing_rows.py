"""Which rows of a tensor go to which rank: those that torch.chunk, and so FSDP2, gives it."""

import torch
from ckpt_fsdp.dcp.writing import rows_of_ranks
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 40), st.integers(1, 12))
def test_rows_are_dealt_out_as_torch_chunk_does(rows, ranks):
    parts = torch.arange(rows).chunk(ranks)
    expected = [(rank, int(part[0]), len(part)) for rank, part in enumerate(parts)]
    assert list(rows_of_ranks((rows, 3), ranks)) == expected


def test_a_tensor_without_rows_is_one_part_of_the_first_rank():
    assert list(rows_of_ranks((), 4)) == [(0, 0, 1)]
    assert list(rows_of_ranks((0, 3), 4)) == [(0, 0, 0)]
