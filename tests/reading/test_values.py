"""Numbers out of bytes equal torch's, for every type and every 8- and 16-bit pattern."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import DType
from ckpt_core.reading.torch.memory import torch_dtype
from ckpt_core.reading.values import NonFinite, as_numbers

EIGHT = [DType.F8_E4M3, DType.F8_E5M2, DType.F8_E4M3FNUZ, DType.F8_E5M2FNUZ, DType.F8_E8M0]


@pytest.mark.parametrize("dtype", [*EIGHT, DType.F16, DType.BF16])
def test_every_pattern_is_the_number_torch_reads(dtype):
    bits = torch.arange(1 << dtype.bits).to(torch.uint8 if dtype.bits == 8 else torch.uint16)
    data = memoryview(bits.numpy()).cast("B")
    expected = bits.view(torch_dtype(dtype)).float().numpy()
    np.testing.assert_array_equal(as_numbers(data, dtype).astype(np.float32), expected)
    counts = NonFinite(dtype)
    counts.update(data)
    assert (counts.nan, counts.inf) == (int(np.isnan(expected).sum()), int(np.isinf(expected).sum()))


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64, DType.C64, DType.C128])
def test_wide_types_are_counted_over_slabs(dtype):
    kind = torch_dtype(dtype)
    values = torch.zeros(100, dtype=kind)
    values[3], values[50], values[99] = float("nan"), float("inf"), float("-inf")
    data = memoryview(values.view(torch.uint8).numpy())
    counts = NonFinite(dtype)
    half = len(data) // 2
    counts.update(data[:half])
    counts.update(data[half:])
    assert (counts.nan, counts.inf) == (1, 2)


@given(st.sampled_from([DType.F16, DType.BF16, DType.F32, DType.F64]), st.binary(max_size=80))
def test_of_any_bytes_the_greatest_magnitude_is_the_one_that_torch_finds(dtype, data):
    data = bytearray(data[: len(data) // dtype.itemsize * dtype.itemsize])
    counts = NonFinite(dtype)
    counts.update(memoryview(data))
    numbers = torch.frombuffer(data, dtype=torch_dtype(dtype)).double() if data else torch.empty(0).double()
    finite = numbers[numbers.isfinite()].abs()
    assert (counts.nan, counts.inf) == (int(numbers.isnan().sum()), int(numbers.isinf().sum()))
    greatest = memoryview(counts.largest.to_bytes(dtype.itemsize, "little"))
    assert float(as_numbers(greatest, dtype)[0]) == float(finite.max() if len(finite) else 0)


@pytest.mark.parametrize("dtype", [DType.BOOL, DType.U8, DType.I64, DType.U32])
def test_integers_are_always_finite(dtype):
    counts = NonFinite(dtype)
    counts.update(memoryview(b"\xff" * 64))
    assert (counts.nan, counts.inf) == (0, 0)
