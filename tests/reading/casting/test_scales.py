import pytest

from ckpt_core.reading.casting.scales import scale_names
from ckpt_core.reading.casting.schemes import SCHEMES
from ckpt_core.schema.dtypes import DType, dtype_named
from ckpt_core.schema.tensors import TensorInfo


@pytest.mark.parametrize(
    ("rows", "scales"),
    [
        ({"l.qweight": "I32", "l.qzeros": "I32", "l.scales": "F16", "l.bias": "F16"}, {"l.scales"}),
        ({"l.weight": "F8_E4M3", "l.weight_scale_inv": "F32", "l.bias": "BF16"}, {"l.weight_scale_inv"}),
        ({"l.weight": "F8_E4M3", "l.weight_scale": "F32", "l.input_scale": "F32"}, {"l.weight_scale", "l.input_scale"}),
        (
            {
                "l.weight_packed": "I32",
                "l.weight_scale": "BF16",
                "l.weight_global_scale": "F32",
                "l.weight_shape": "I64",
            },
            {"l.weight_scale", "l.weight_global_scale"},
        ),
        ({"l.weight": "I8", "l.SCB": "F32", "l.weight_format": "U8"}, {"l.SCB"}),
        (
            {"l.weight": "U8", "l.weight.absmax": "F32", "l.weight.quant_map": "F32", "l.weight.nested_absmax": "F32"},
            {"l.weight.absmax", "l.weight.quant_map", "l.weight.nested_absmax"},
        ),
        (
            {"l.weight.int_data": "I8", "l.weight.scale": "F32", "l.weight.zero_point": "F32"},
            {"l.weight.scale", "l.weight.zero_point"},
        ),
        ({"l.weight:_data": "I8", "l.weight:_scale": "BF16"}, {"l.weight:_scale"}),
        ({"l.W_q": "U8", "l.scale": "F16", "l.zero": "F16"}, {"l.scale", "l.zero"}),
        (
            {"state.0.state1": "U8", "state.0.qmap1": "F32", "state.0.absmax1": "F32"},
            {"state.0.qmap1", "state.0.absmax1"},
        ),
        ({"attn.k_proj.weight": "F8_E4M3", "attn.k_scale": "F32", "attn.norm.weight": "F32"}, {"attn.k_scale"}),
        (
            {"e.gate_up_proj": "F8_E4M3", "e.gate_up_proj_scale_inv": "F32", "e.gate_up_proj_bias": "BF16"},
            {"e.gate_up_proj_scale_inv"},
        ),
    ],
)
def test_a_scale_is_told_by_its_name_beside_codes(rows, scales):
    infos = [(name, TensorInfo(DType[dtype], (2, 2), None, 0)) for name, dtype in rows.items()]
    assert scale_names(infos) == scales


@pytest.mark.parametrize(
    "rows",
    [
        {"norm.scale": "F32", "norm.bias": "F32", "w": "F32"},
        {"logit_scale": "F32", "visual.proj": "F16", "text.position_ids": "I64"},
        {"layers.0.norm.scale": "BF16", "layers.0.q.weight": "F8_E4M3"},
        {"bn.weight": "F32", "bn.num_batches_tracked": "I64"},
        {"l.weight": "BF16", "l.weight_scale_but_no_codes.zero": "F32"},
    ],
)
def test_a_weight_of_such_a_name_without_codes_beside_it_is_a_weight(rows):
    assert scale_names((name, TensorInfo(DType[dtype], (2, 2), None, 0)) for name, dtype in rows.items()) == frozenset()


@pytest.mark.parametrize("spelling", ["bf16", "BF16", "bfloat16", "torch.bfloat16", "BFloat16", " bf16 ", DType.BF16])
def test_a_type_is_known_under_every_spelling(spelling):
    assert dtype_named(spelling) is DType.BF16


@pytest.mark.parametrize(
    ("spelling", "dtype"),
    [
        ("fp16", "F16"),
        ("half", "F16"),
        ("torch.float16", "F16"),
        ("float32", "F32"),
        ("fp32", "F32"),
        ("float", "F32"),
        ("double", "F64"),
        ("torch.float8_e4m3fn", "F8_E4M3"),
        ("uint8", "U8"),
        ("long", "I64"),
    ],
)
def test_the_names_of_torch_are_types(spelling, dtype):
    assert dtype_named(spelling) is DType[dtype]


def test_every_dtype_of_torch_that_has_a_code_is_meant_by_itself():
    torch = pytest.importorskip("torch")
    import numpy as np

    from ckpt_core.reading.torch.memory import torch_dtype

    for dtype in (DType.F16, DType.BF16, DType.F32, DType.F64, DType.I64, DType.U8, DType.F8_E4M3, DType.F8_E5M2):
        assert dtype_named(torch_dtype(dtype)) is dtype
    assert dtype_named(np.float16) is dtype_named(np.dtype("float16")) is DType.F16
    assert dtype_named(torch.half) is DType.F16


def test_what_is_no_type_is_refused_with_those_that_are():
    from ckpt_core.errors import UsageError

    with pytest.raises(UsageError, match="'bf17': not a type; known are BF16"):
        dtype_named("bf17")


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.name} {scheme.codes}")
def test_whatever_a_scheme_keeps_beside_its_codes_is_no_weight(scheme):
    codes = {f"l.{scheme.codes}": TensorInfo(min(scheme.types, key=lambda kind: kind.code), (2, 2), None, 0)}
    beside = {f"l.{end}": TensorInfo(DType.F32, (2, 2), None, 0) for end in (*scheme.scales, *scheme.others)}
    assert scale_names([*codes.items(), *beside.items()]) == beside.keys()
    assert scale_names(beside.items()) == frozenset()


@pytest.mark.parametrize("end", ["nested_quant_map", "nested_absmax", "scale_weight", "weight_scale_2"])
def test_names_that_only_some_tools_give_to_scales_are_known_beside_codes(end):
    rows = {"l.weight": DType.F8_E4M3, f"l.{end}": DType.F32, "l.bias": DType.F32}
    assert scale_names((name, TensorInfo(dtype, (2, 2), None, 0)) for name, dtype in rows.items()) == {f"l.{end}"}
