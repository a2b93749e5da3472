"""What values say: zeros, numbers beyond F16, factors that change nothing, and what is said of none of them."""

import pytest
import torch

from ckpt_core.reading.scan.value_findings import findings_of_values
from ckpt_core.reading.torch.memory import torch_dtype
from ckpt_core.reading.values import NonFinite
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import TensorEntry


def codes(values, dtype=DType.F32, *, name="layer.weight", kind="model"):
    tensor = torch.as_tensor(values, dtype=torch.float64).to(torch_dtype(dtype))
    seen = NonFinite(dtype)
    seen.update(memoryview(tensor.contiguous().view(torch.uint8).numpy()).cast("B"))
    entry = TensorEntry(dtype, tuple(tensor.shape), ())
    return [finding.code for finding in findings_of_values(kind, name, entry, None, seen)]


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16, DType.F32, DType.F64])
def test_a_weight_of_zeros_is_noticed_and_one_small_value_is_enough(dtype):
    assert codes([[0.0, 0.0], [0.0, -0.0]], dtype) == ["VL003"]
    assert codes([[0.0, 0.0], [0.0, 1e-7]], dtype) == []


def test_a_bias_and_an_optimizer_may_be_zero():
    assert codes([0.0, 0.0], name="layer.bias") == []
    assert codes([[0.0, 0.0]], kind="optimizer") == []


@pytest.mark.parametrize("name", ["q_proj.lora_B.weight", "q_proj.lora.B.weight", "x.lora_A.default.weight"])
def test_a_dead_factor_of_an_adapter_is_called_that(name):
    assert codes([[0.0, 0.0]], name=name) == ["VL005"]
    assert codes([[0.0, 1.0]], name=name) == []


@pytest.mark.parametrize("dtype", [DType.BF16, DType.F32, DType.F64])
def test_beyond_f16_means_that_torch_makes_it_infinite_there(dtype):
    for value in (65504.0, 65519.0, 65520.0, 65536.0, 1e30):
        stored = torch.tensor([value, 1.0], dtype=torch.float64).to(torch_dtype(dtype))
        overflows = bool(torch.isinf(stored.to(torch.float16)).any())
        assert codes([value, 1.0], dtype) == (["VL004"] if overflows else []), value


def test_f16_is_never_beyond_itself():
    assert codes([65504.0, 1.0], DType.F16) == []


def test_nan_and_infinity_hide_nothing_and_are_not_zero():
    assert codes([[float("nan"), 0.0]]) == ["VL001"]
    assert codes([[float("inf"), 0.0]]) == ["VL002"]
    assert codes([[float("nan"), float("inf")]]) == ["VL001", "VL002"]
