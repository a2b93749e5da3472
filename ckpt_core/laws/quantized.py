"""Quantized weights: codes need their scales, scales their codes, and each a type that it can have.

Sources: AutoGPTQ and AutoAWQ (qweight, qzeros, scales, g_idx), bitsandbytes `functional.py` (QuantState.as_dict) and
`nn/modules.py` (SCB), DeepSeek-V3's README and transformers `integrations/finegrained_fp8.py` (weight_scale_inv),
compressed-tensors `compressors/` (weight_packed, weight_scale, weight_shape), torchao's tensors as safetensors
(`_weight_qdata`, `_weight_scale`), HQQ `core/quantize.py` (W_q, scale, zero), optimum-quanto `tensor/` (weight._data),
transformers `integrations/` of eetq, mxfp4 and fp8 experts, ModelOpt and Quark (U8 `weight` with its scales).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ckpt_core.laws.scale_shapes import (
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
from ckpt_core.laws.tensor_infos import TensorInfos, some
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import TensorInfo
from ckpt_core.schema.text import printable

_F8 = frozenset({DType.F8_E4M3, DType.F8_E5M2, DType.F8_E4M3FNUZ, DType.F8_E5M2FNUZ})
_FLOATS = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})
_NO_TYPES: frozenset[DType] = frozenset()
_EXPERTS = ("gate_up_proj", "down_proj")
_E8M0 = frozenset({DType.F8_E8M0, DType.U8})
"""Exponents alone, as microscaling formats keep their scales; torch had no type for them at first."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one way to quantize names what it stores of a module.

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
    scale_types: frozenset[DType] = _FLOATS
    fits: Fits = anything


_FP8_SCALES = ("weight_scale_inv", "weight_scale", "scale", "scale_weight", "weight_scale_2")
_ANY_SCALE = _FLOATS | _F8 | _E8M0
_I32, _I16, _I8, _U8 = (frozenset({kind}) for kind in (DType.I32, DType.I16, DType.I8, DType.U8))
_PACKED = _I32 | _U8

SCHEMES = (
    Scheme("gptq", "qweight", _I32, ("scales",), ("qzeros",), _FLOATS, of_columns),
    Scheme("awq", "qweight", _I32 | _I16, ("scales",), ("qzeros",), _FLOATS, of_packed_columns),
    Scheme("bitsandbytes 4-bit", "weight", _U8, ("weight.absmax",), ("weight.quant_map",), _NO_TYPES, of_runs),
    Scheme("bitsandbytes int8", "weight", _I8, ("SCB",), (), _FLOATS, of_blocks),
    Scheme("int8", "weight", _I8, ("weight_scale", "weight_scale_inv"), (), _FLOATS, of_blocks),
    Scheme("eetq", "weight", _I8, ("weight_scales",), (), _FLOATS, of_blocks),
    Scheme("fp8", "weight", _F8, _FP8_SCALES, (), _FLOATS | _E8M0, of_blocks),
    Scheme("packed bytes", "weight", _U8, ("weight_scale",), ("weight_scale_2",), _F8, of_rows),
    Scheme("packed bytes", "weight", _U8, ("weight_scale",), (), _ANY_SCALE),
    Scheme("compressed-tensors", "weight_packed", _I32, ("weight_scale",), ("weight_shape",), _FLOATS, of_rows),
    Scheme("compressed-tensors fp4", "weight_packed", _U8, ("weight_scale",), ("weight_global_scale",), _F8, of_rows),
    Scheme("compressed-tensors mx", "weight_packed", _U8, ("weight_scale",), (), _E8M0, of_rows),
    Scheme("torchao", "_weight_qdata", _F8 | _I8, ("_weight_scale",), (), _ANY_SCALE, of_blocks_or_turned),
    Scheme("torchao", "_weight_qdata", _PACKED, ("_weight_scale", "_weight_scale_and_zero"), (), _ANY_SCALE),
    Scheme("hqq", "W_q", _PACKED | _I8, ("scale",), ("zero",), _ANY_SCALE),
    Scheme("quanto", "weight._data", _I8 | _U8 | _F8, ("weight._scale",), (), _FLOATS),
    Scheme("aqlm", "codes", _I8 | _I16, ("scales",), ("codebooks",), _FLOATS),
    *(Scheme("mxfp4", f"{at}_blocks", _U8, (f"{at}_scales",), (), _E8M0, of_last) for at in _EXPERTS),
    *(Scheme("fp8", at, _F8, (f"{at}_scale_inv", f"{at}_scale"), (), _FLOATS | _E8M0) for at in _EXPERTS),
)

_WIDE = frozenset({DType.F32, DType.F64})
_USUAL = {
    "weight_scale_inv": _WIDE,
    "weight.absmax": _WIDE,
    "SCB": _WIDE,
    "scales": _FLOATS - {DType.BF16},
}
"""Types that the tools of a scheme write scales in, where they differ little; another may come of a cast."""


def _belongings() -> dict[str, tuple[str, ...]]:
    """Names of scales and what belongs to them, each with the codes of which one must be beside it."""
    found = {"g_idx": ["qweight", "weight_packed", "weight"], "weight_g_idx": ["weight_packed"]}
    for scheme in SCHEMES:
        for end in (*scheme.scales, *scheme.others):
            if end not in _PLAIN_WORDS:
                found.setdefault(end, []).append(scheme.codes)
    found["weight_scale"] += ["qweight"]
    found["_weight_scale"] += ["_weight_qdata_0"]
    return {end: tuple(codes) for end, codes in found.items()}


_PLAIN_WORDS = frozenset({"scale", "scale_weight"})
"""Names that norms give to their weights."""

_ORPHANS = _belongings()

_COMMON_WORDS = frozenset({"scales", "weight_scale", "weight_scales", "zero", "codebooks", "weight_shape"})
"""Names that a module may give to a parameter of its own, where nothing else in the model is quantized."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of one module, and by which scheme they are read."""

    scheme: Scheme
    module: str
    name: str
    info: TensorInfo


def find_codes(infos: TensorInfos) -> Iterator[Codes]:
    """Quantized weights, told from names and types, and from their scales where those are alike."""
    for name, info in infos.items():
        if info.dtype in _FLOATS:
            continue
        found = [codes for scheme in SCHEMES if (codes := _as_codes(scheme, name, info)) is not None]
        if found:
            yield max(found, key=lambda codes: _likeness(codes, infos))


def _as_codes(scheme: Scheme, name: str, info: TensorInfo) -> Codes | None:
    module = name.removesuffix(scheme.codes)
    is_end = module != name and (not module or module.endswith("."))
    return Codes(scheme, module, name, info) if is_end and info.dtype in scheme.types else None


def _likeness(codes: Codes, infos: TensorInfos) -> int:
    """How much speaks for a scheme: its scales, their shape and their type, and what else it needs."""
    scale = scale_of(codes, infos)
    others = len(_others(codes, infos))
    if scale is None:
        return others
    info = infos[scale]
    return 1 + others + codes.scheme.fits(codes.info.shape, info.shape) + _can_be(codes.scheme, info.dtype)


def _others(codes: Codes, infos: TensorInfos) -> list[str]:
    """What the scheme needs besides scales, as far as it is there."""
    return [end for end in codes.scheme.others if f"{codes.module}{end}" in infos]


def _can_be(scheme: Scheme, dtype: DType) -> bool:
    return not scheme.scale_types or dtype in scheme.scale_types


def scale_of(codes: Codes, infos: TensorInfos) -> str | None:
    """The name of the scales of the codes; None where there are none."""
    return next((name for end in codes.scheme.scales if (name := f"{codes.module}{end}") in infos), None)


def has_scales(codes: Codes, infos: TensorInfos) -> bool:
    """Whether scales of the codes are there, under any of their names."""
    return scale_of(codes, infos) is not None


def quantized(infos: TensorInfos) -> Iterator[Finding]:
    """LW010 to LW012: codes without scales, scales without codes, and scales of a type that they cannot have."""
    if not any(info.dtype not in _FLOATS for info in infos.values()) and not _named_like_scales(infos):
        return
    found = list(find_codes(infos))
    yield from _without_scales(found, infos)
    yield from _misfits(found, infos)
    yield from _orphans(infos, quantized_otherwise=bool(found))


def scale_types(infos: TensorInfos, *, inventory: bool) -> Iterator[Finding]:
    """LW012: scales whose type no tool writes; LW013: scales in a narrower type than usual.

    Args:
        infos: The tensors.
        inventory: Say LW013 of every quantized model.
    """
    schemes: dict[str, list[tuple[Codes, str]]] = {}
    for codes in find_codes(infos):
        scheme = codes.scheme
        scale = scale_of(codes, infos)
        if scale is None:
            continue
        schemes.setdefault(scheme.name, []).append((codes, scale))
        dtype = infos[scale].dtype
        if not _can_be(scheme, dtype):
            message = f"{printable(scale)}: a scale of {scheme.name} in {dtype.code}, a type that scales cannot have"
            hint = "they were cast; convert again from the quantized model itself"
            yield Finding("LW012", Severity.ERROR, message, infos[scale].path, scale, hint)
    for name, every in schemes.items():
        kinds = sorted({infos[scale].dtype.code for _, scale in every})
        odd = [scale for codes, scale in every if _is_narrow(scale.removeprefix(codes.module), infos[scale].dtype)]
        message = f"{len(every)} quantized weights ({name}), with scales in {' and '.join(kinds)}"
        if odd:
            message += "; most tools write a wider type: where the scales were cast, they are rounded"
        if odd or inventory:
            yield Finding("LW013", Severity.INFO, message, every[0][0].info.path, odd[0] if odd else None)


def _is_narrow(end: str, dtype: DType) -> bool:
    usual = _USUAL.get(end)
    return usual is not None and dtype in _FLOATS and dtype not in usual


def _without_scales(found: list[Codes], infos: TensorInfos) -> Iterator[Finding]:
    lost: dict[tuple[str, str], list[Codes]] = {}
    certain = _certain_types(infos)
    for codes in found:
        if not has_scales(codes, infos):
            if codes.scheme.codes != "weight" or codes.info.dtype in certain or _others(codes, infos):
                lost.setdefault((codes.scheme.name, codes.scheme.scales[0]), []).append(codes)
            continue
        for end in codes.scheme.others:
            if f"{codes.module}{end}" not in infos:
                lost.setdefault((codes.scheme.name, end), []).append(codes)
    for (scheme, end), every in lost.items():
        message = f"{some([codes.name for codes in every])}: codes of {scheme} without {end}"
        hint = "codes mean nothing without it; copy the whole quantized model again"
        yield Finding("LW010", Severity.ERROR, message, every[0].info.path, every[0].name, hint)


def _certain_types(infos: TensorInfos) -> frozenset[DType]:
    """Types of which a `weight` without scales is codes nevertheless: others of the model have scales for them.

    Integers named `weight` may be anything, and F8 may be a plain cast.
    """
    ends = {".".join(name.split(".")[-count:]) for name in infos for count in (1, 2)}
    of_weights = (scheme for scheme in SCHEMES if scheme.codes == "weight")
    known = (scheme.types for scheme in of_weights if ends & set(scheme.scales) - {"scale"})
    return frozenset[DType]().union(*known)


def _misfits(found: list[Codes], infos: TensorInfos) -> Iterator[Finding]:
    """LW016: scales whose shape no group, block, row or column of their codes makes."""
    for codes in found:
        scale = scale_of(codes, infos)
        if scale is not None and not codes.scheme.fits(codes.info.shape, infos[scale].shape):
            shapes = f"of shape {list(infos[scale].shape)} for codes of shape {list(codes.info.shape)}"
            message = f"{printable(scale)}: scales of {codes.scheme.name} {shapes}, which they cannot belong to"
            hint = "codes and scales are of two saves; copy the whole quantized model again"
            yield Finding("LW016", Severity.ERROR, message, infos[scale].path, scale, hint)


def _named_like_scales(infos: TensorInfos) -> bool:
    return any(name.endswith(tuple(_ORPHANS)) for name in infos)


def _orphans(infos: TensorInfos, *, quantized_otherwise: bool) -> Iterator[Finding]:
    lost: dict[str, list[str]] = {}
    for name in infos:
        for end, codes in _ORPHANS.items():
            module = name.removesuffix(end)
            if module == name or (module and not module.endswith(".")):
                continue
            if not any(f"{module}{code}" in infos for code in codes):
                lost.setdefault(end, []).append(name)
            break
    for end, names in lost.items():
        if end in _COMMON_WORDS and not quantized_otherwise:
            continue
        message = f"{some(names)}: {end} without the codes that it belongs to"
        hint = "a shard was lost, or files of two saves are mixed; copy the whole quantized model again"
        yield Finding("LW011", Severity.ERROR, message, infos[names[0]].path, names[0], hint)
