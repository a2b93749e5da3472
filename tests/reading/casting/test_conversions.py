"""Casts equal what torch's `.to` gives, bit for bit; NaN to NaN."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core.errors import LoadError, UsageError
from ckpt_core.reading.casting.conversions import CASTABLE, cast, check_castable
from ckpt_core.schema.dtypes import DType

TORCH = {DType.F16: torch.float16, DType.BF16: torch.bfloat16, DType.F32: torch.float32, DType.F64: torch.float64}
BITS = {DType.F16: np.uint16, DType.BF16: np.uint16, DType.F32: np.uint32, DType.F64: np.uint64}
PAIRS = list(itertools.permutations(TORCH, 2))
IDS = [f"{source.code}-{target.code}" for source, target in PAIRS]


def same_as_torch(bits, source, target):
    """Whether our cast of these bit patterns is torch's; where a finite value overflows, whether both say so."""
    tensor = torch.frombuffer(bytearray(bits.tobytes()), dtype=TORCH[source])
    expected = tensor.to(TORCH[target])
    overflow = (expected.isinf() & ~tensor.isinf()).any()
    data = memoryview(bits.tobytes())
    if overflow:
        with pytest.raises(LoadError, match="too large"):
            cast(data, source, target)
        keep = ~(expected.isinf() & ~tensor.isinf()).numpy()
        return same_as_torch(bits[keep], source, target) if keep.any() else True
    given_ = torch.frombuffer(bytearray(cast(data, source, target)), dtype=TORCH[target])
    nan = expected.isnan()
    assert torch.equal(given_.isnan(), nan)
    ours, theirs = (t[~nan].contiguous().view(torch.uint8) for t in (given_, expected))
    return torch.equal(ours, theirs)


@pytest.mark.parametrize("source", [DType.F16, DType.BF16], ids=lambda d: d.code)
@pytest.mark.parametrize("target", list(TORCH), ids=lambda d: d.code)
def test_every_value_of_sixteen_bits(source, target):
    if source is not target:
        assert same_as_torch(np.arange(1 << 16, dtype=np.uint16), source, target)


def corners(source, target):
    """Values around which a rounding goes one way or the other, and their neighbours."""
    kind = {DType.F32: np.float32, DType.F64: np.float64}[source]
    exact = (
        torch.arange(1 << 16, dtype=torch.int32)
        .to(torch.int16)
        .view(torch.bfloat16 if target is DType.BF16 else torch.float16)
    )
    values = exact.to(TORCH[source]).numpy()
    values = values[np.isfinite(values)]
    values = np.unique(values)
    with np.errstate(over="ignore"):
        ties = values[:-1] + (values[1:] - values[:-1]) / 2
        around = [np.nextafter(ties, kind(np.inf)), np.nextafter(ties, kind(-np.inf))]
    special = np.array(
        [np.inf, -np.inf, np.nan, 0.0, -0.0, np.finfo(kind).tiny, np.finfo(kind).smallest_subnormal], kind
    )
    return np.concatenate([values, ties, *around, special, -special]).astype(kind).view(BITS[source])


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (DType.F32, DType.F16),
        (DType.F32, DType.BF16),
        (DType.F64, DType.BF16),
        (DType.F64, DType.F16),
    ],
)
def test_every_tie_and_its_neighbours(source, target):
    assert same_as_torch(corners(source, target), source, target)


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=IDS)
def test_any_bits(source, target):
    width = 8 * BITS[source]().itemsize

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, (1 << width) - 1), min_size=1, max_size=40))
    def check(patterns):
        assert same_as_torch(np.array(patterns, BITS[source]), source, target)

    check()


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=IDS)
def test_nothing_stays_nothing(source, target):
    assert cast(memoryview(b""), source, target).nbytes == 0


def test_an_infinity_that_was_there_is_no_overflow():
    data = np.array([np.inf, 1, -np.inf], "f4")
    assert cast(memoryview(data).cast("B"), DType.F32, DType.F16).tobytes() == data.astype("f2").tobytes()


def test_only_floats_of_sixteen_bits_and_more_are_cast_to():
    for dtype in DType:
        if dtype in CASTABLE:
            check_castable(dtype)
        else:
            with pytest.raises(UsageError, match="tensors are cast to BF16, F16, F32, F64 only"):
                check_castable(dtype)
