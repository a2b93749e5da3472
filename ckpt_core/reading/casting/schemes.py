"""The names that quantization schemes store a module under.

They are the names of codes, their scales, and what else a scheme needs. The laws of quantized weights and the casts
that leave scales alone go by this one table.

Sources: AutoGPTQ and AutoAWQ (qweight, qzeros, scales, g_idx), bitsandbytes `functional.py` (QuantState.as_dict) and
`nn/modules.py` (SCB), DeepSeek-V3's README and transformers `integrations/finegrained_fp8.py` (weight_scale_inv),
compressed-tensors `compressors/` (weight_packed, weight_scale, weight_shape), torchao's tensors as safetensors
(`_weight_qdata`, `_weight_scale`), HQQ `core/quantize.py` (W_q, scale, zero), optimum-quanto `tensor/` (weight._data),
transformers `integrations/` of eetq, mxfp4 and fp8 experts, ModelOpt and Quark (U8 `weight` with its scales).
"""

from dataclasses import dataclass

from ckpt_core.reading.casting.scale_shapes import (
    Fits,
    anything,
    of_blocks,
    of_blocks_or_turned,
    of_columns,
    of_last,
    of_packed_columns,
    of_rows,
    of_runs,
)
from ckpt_core.schema.dtypes import DType

_F8 = frozenset({DType.F8_E4M3, DType.F8_E5M2, DType.F8_E4M3FNUZ, DType.F8_E5M2FNUZ})
FLOATS = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})
_NO_TYPES: frozenset[DType] = frozenset()
_EXPERTS = ("gate_up_proj", "down_proj")
_E8M0 = frozenset({DType.F8_E8M0, DType.U8})
"""Exponents alone, as microscaling formats keep their scales; torch had no type for them at first."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to quantize, by the names it stores.

    Attributes:
        name: What it is called.
        codes: The end of the name of the codes.
        types: Types that mark codes: the same name with any other type is a plain weight.
        scales: Ends of names, any one of which is the scales.
        others: Ends of names that must be there too.
        scale_types: Types that scales can have; none for any.
        fits: Whether scales of one shape can belong to codes of another.
    """

    name: str
    codes: str
    types: frozenset[DType]
    scales: tuple[str, ...]
    others: tuple[str, ...] = ()
    scale_types: frozenset[DType] = FLOATS
    fits: Fits = anything


_FP8_SCALES = ("weight_scale_inv", "weight_scale", "scale", "scale_weight", "weight_scale_2")
_ANY_SCALE = FLOATS | _F8 | _E8M0
_I32, _I16, _I8, _U8 = (frozenset({kind}) for kind in (DType.I32, DType.I16, DType.I8, DType.U8))
_PACKED = _I32 | _U8

SCHEMES = (
    Scheme("gptq", "qweight", _I32, ("scales",), ("qzeros",), FLOATS, of_columns),
    Scheme("awq", "qweight", _I32 | _I16, ("scales",), ("qzeros",), FLOATS, of_packed_columns),
    Scheme("bitsandbytes 4-bit", "weight", _U8, ("weight.absmax",), ("weight.quant_map",), _NO_TYPES, of_runs),
    Scheme("bitsandbytes int8", "weight", _I8, ("SCB",), (), FLOATS, of_blocks),
    Scheme("int8", "weight", _I8, ("weight_scale", "weight_scale_inv"), (), FLOATS, of_blocks),
    Scheme("eetq", "weight", _I8, ("weight_scales",), (), FLOATS, of_blocks),
    Scheme("fp8", "weight", _F8, _FP8_SCALES, (), FLOATS | _E8M0, of_blocks),
    Scheme("packed bytes", "weight", _U8, ("weight_scale",), ("weight_scale_2",), _F8, of_rows),
    Scheme("packed bytes", "weight", _U8, ("weight_scale",), (), _ANY_SCALE),
    Scheme("compressed-tensors", "weight_packed", _I32, ("weight_scale",), ("weight_shape",), FLOATS, of_rows),
    Scheme("compressed-tensors fp4", "weight_packed", _U8, ("weight_scale",), ("weight_global_scale",), _F8, of_rows),
    Scheme("compressed-tensors mx", "weight_packed", _U8, ("weight_scale",), (), _E8M0, of_rows),
    Scheme("torchao", "_weight_qdata", _F8 | _I8, ("_weight_scale",), (), _ANY_SCALE, of_blocks_or_turned),
    Scheme("torchao", "_weight_qdata", _PACKED, ("_weight_scale", "_weight_scale_and_zero"), (), _ANY_SCALE),
    Scheme("hqq", "W_q", _PACKED | _I8, ("scale",), ("zero",), _ANY_SCALE),
    Scheme("quanto", "weight._data", _I8 | _U8 | _F8, ("weight._scale",), (), FLOATS),
    Scheme("aqlm", "codes", _I8 | _I16, ("scales",), ("codebooks",), FLOATS),
    *(Scheme("mxfp4", f"{at}_blocks", _U8, (f"{at}_scales",), (), _E8M0, of_last) for at in _EXPERTS),
    *(Scheme("fp8", at, _F8, (f"{at}_scale_inv", f"{at}_scale"), (), FLOATS | _E8M0) for at in _EXPERTS),
)
