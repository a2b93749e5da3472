"""Bytes become numbers and come back as torch casts them."""

import numpy as np
import pytest
import torch

from ckpt_core import DType, LoadError, UsageError
from ckpt_core.layouts.numbers import narrow_bytes, wide_numbers

TORCH = {DType.F16: torch.float16, DType.BF16: torch.bfloat16, DType.F32: torch.float32, DType.F64: torch.float64}


def as_bytes(tensor):
    return memoryview(tensor.view(torch.uint8).numpy())


@pytest.mark.parametrize("dtype", TORCH)
def test_numbers_are_the_elements_and_become_them_again(dtype):
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(1)).to(TORCH[dtype])
    numbers = wide_numbers(as_bytes(tensor), dtype)
    assert numbers.dtype == (np.float64 if dtype is DType.F64 else np.float32)
    assert numbers.tolist() == tensor.to(torch.float64).tolist()
    assert narrow_bytes(numbers, dtype) == as_bytes(tensor)


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
def test_rounding_is_torchs(dtype):
    exact = torch.randn(5000, generator=torch.Generator().manual_seed(2))
    assert narrow_bytes(exact.numpy(), dtype) == as_bytes(exact.to(TORCH[dtype]))


def test_what_is_too_large_is_an_error_and_other_types_are_refused():
    with pytest.raises(LoadError, match="1 finite values are too large for F16"):
        narrow_bytes(np.array([1e6], dtype="f4"), DType.F16)
    assert len(narrow_bytes(np.zeros(0, dtype="f4"), DType.F16)) == 0
    with pytest.raises(UsageError, match="I64: only floating types"):
        wide_numbers(memoryview(b""), DType.I64)
