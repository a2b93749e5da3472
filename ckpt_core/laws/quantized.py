"""Quantized weights: codes need their scales, scales their codes, and each a type that it can have.

Sources: AutoGPTQ and AutoAWQ (qweight, qzeros, scales, g_idx), bitsandbytes `functional.py` (QuantState.as_dict) and
`nn/modules.py` (SCB), DeepSeek-V3's README and transformers `integrations/finegrained_fp8.py` (weight_scale_inv),
compressed-tensors `compressors/` (weight_packed, weight_scale, weight_shape), torchao's tensors as safetensors
(`_weight_qdata`, `_weight_scale`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ckpt_core.laws.outlines import Outlines, some
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import Outline
from ckpt_core.schema.text import printable

_F8 = frozenset({DType.F8_E4M3, DType.F8_E5M2, DType.F8_E4M3FNUZ, DType.F8_E5M2FNUZ})
_FLOATS = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})
_NO_TYPES: frozenset[DType] = frozenset()
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
        scale_types: Types that scales can have.
    """

    name: str
    codes: str
    types: frozenset[DType]
    scales: tuple[str, ...]
    others: tuple[str, ...] = ()
    scale_types: frozenset[DType] = _FLOATS


_FP8_SCALES = ("weight_scale_inv", "weight_scale", "scale", "scale_weight", "weight_scale_2")
_INT8_SCALES = ("SCB", "weight_scale", "weight_scale_inv")
_ANY_SCALE = _FLOATS | _F8 | _E8M0
_PACKED = frozenset({DType.I32, DType.U8})

SCHEMES = (
    Scheme("gptq/awq", "qweight", frozenset({DType.I32}), ("scales",), ("qzeros",)),
    Scheme("bitsandbytes 4-bit", "weight", frozenset({DType.U8}), ("weight.absmax",), ("weight.quant_map",), _NO_TYPES),
    Scheme("bitsandbytes int8", "weight", frozenset({DType.I8}), _INT8_SCALES),
    Scheme("fp8", "weight", _F8, _FP8_SCALES, (), _FLOATS | _E8M0),
    Scheme("compressed-tensors", "weight_packed", _PACKED, ("weight_scale", "weight_global_scale"), (), _ANY_SCALE),
    Scheme("torchao", "_weight_qdata", _F8 | _PACKED | {DType.I8}, ("_weight_scale",), (), _ANY_SCALE),
)

_WIDE = frozenset({DType.F32, DType.F64})
_USUAL = {
    "weight_scale_inv": _WIDE,
    "weight.absmax": _WIDE,
    "SCB": _WIDE,
    "scales": _FLOATS - {DType.BF16},
}
"""Types that the tools of a scheme write scales in, where they differ little; another may come of a cast."""

_ORPHANS = {
    "weight_scale_inv": ("weight",),
    "qzeros": ("qweight",),
    "scales": ("qweight",),
    "g_idx": ("qweight", "weight_packed", "weight"),
    "weight_scale": ("weight", "weight_packed"),
    "weight.absmax": ("weight",),
    "weight.quant_map": ("weight",),
    "SCB": ("weight",),
    "_weight_scale": ("_weight_qdata", "_weight_qdata_0"),
}
"""Names of scales and what belongs to them, each with the codes of which one must be beside it."""

_COMMON_WORDS = frozenset({"scales", "weight_scale"})
"""Names that a module may give to a parameter of its own, where nothing else in the model is quantized."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of one module, and by which scheme they are read."""

    scheme: Scheme
    module: str
    name: str
    outline: Outline


def find_codes(outlines: Outlines) -> Iterator[Codes]:
    """Quantized weights, told from names and types."""
    for name, outline in outlines.items():
        if outline.dtype in _FLOATS:
            continue
        for scheme in SCHEMES:
            if name.endswith(scheme.codes) and outline.dtype in scheme.types:
                module = name.removesuffix(scheme.codes)
                if not module or module.endswith("."):
                    yield Codes(scheme, module, name, outline)
                    break


def has_scales(codes: Codes, outlines: Outlines) -> bool:
    """Whether scales of the codes are there, under any of their names."""
    return any(f"{codes.module}{end}" in outlines for end in codes.scheme.scales)


def quantized(outlines: Outlines) -> Iterator[Finding]:
    """LW010 to LW012: codes without scales, scales without codes, and scales of a type that they cannot have."""
    if not any(outline.dtype not in _FLOATS for outline in outlines.values()) and not _named_like_scales(outlines):
        return
    found = list(find_codes(outlines))
    yield from _without_scales(found, outlines)
    yield from _orphans(outlines, quantized_otherwise=bool(found))


def scale_types(outlines: Outlines, *, inventory: bool) -> Iterator[Finding]:
    """LW012: scales whose type no tool writes; LW013: scales in a narrower type than usual.

    Args:
        outlines: The tensors.
        inventory: Say LW013 of every quantized model.
    """
    schemes: dict[str, list[tuple[Codes, str]]] = {}
    for codes in find_codes(outlines):
        scheme = codes.scheme
        scale = next((name for end in scheme.scales if (name := f"{codes.module}{end}") in outlines), None)
        if scale is None:
            continue
        schemes.setdefault(scheme.name, []).append((codes, scale))
        dtype = outlines[scale].dtype
        if scheme.scale_types and dtype not in scheme.scale_types:
            message = f"{printable(scale)}: a scale of {scheme.name} in {dtype.code}, a type that scales cannot have"
            hint = "they were cast; convert again from the quantized model itself"
            yield Finding("LW012", Severity.ERROR, message, outlines[scale].path, scale, hint)
    for name, every in schemes.items():
        kinds = sorted({outlines[scale].dtype.code for _, scale in every})
        odd = [scale for codes, scale in every if _is_narrow(scale.removeprefix(codes.module), outlines[scale].dtype)]
        message = f"{len(every)} quantized weights ({name}), with scales in {' and '.join(kinds)}"
        if odd:
            message += "; most tools write a wider type: where the scales were cast, they are rounded"
        if odd or inventory:
            yield Finding("LW013", Severity.INFO, message, every[0][0].outline.path, odd[0] if odd else None)


def _is_narrow(end: str, dtype: DType) -> bool:
    usual = _USUAL.get(end)
    return usual is not None and dtype in _FLOATS and dtype not in usual


def _without_scales(found: list[Codes], outlines: Outlines) -> Iterator[Finding]:
    lost: dict[tuple[str, str], list[Codes]] = {}
    for codes in found:
        if not has_scales(codes, outlines):
            if _is_certain(codes, outlines):
                lost.setdefault((codes.scheme.name, codes.scheme.scales[0]), []).append(codes)
            continue
        for end in codes.scheme.others:
            if f"{codes.module}{end}" not in outlines:
                lost.setdefault((codes.scheme.name, end), []).append(codes)
    for (scheme, end), every in lost.items():
        message = f"{some([codes.name for codes in every])}: codes of {scheme} without {end}"
        hint = "codes mean nothing without it; copy the whole quantized model again"
        yield Finding("LW010", Severity.ERROR, message, every[0].outline.path, every[0].name, hint)


def _is_certain(codes: Codes, outlines: Outlines) -> bool:
    """Whether codes without scales are codes: integers named `weight` may be anything, and F8 may be a plain cast."""
    if codes.scheme.codes != "weight":
        return True
    return any(f"weight{end}" in name or name.endswith(end) for name in outlines for end in _ends(codes.scheme))


def _ends(scheme: Scheme) -> tuple[str, ...]:
    """What only scales of a scheme are named: somebody scaled other weights of the model in this way."""
    return tuple(f".{end}" for end in scheme.scales if end != "scale")


def _named_like_scales(outlines: Outlines) -> bool:
    return any(name.endswith(tuple(_ORPHANS)) for name in outlines)


def _orphans(outlines: Outlines, *, quantized_otherwise: bool) -> Iterator[Finding]:
    lost: dict[str, list[str]] = {}
    for name in outlines:
        for end, codes in _ORPHANS.items():
            module = name.removesuffix(end)
            if module == name or (module and not module.endswith(".")):
                continue
            if not any(f"{module}{code}" in outlines for code in codes):
                lost.setdefault(end, []).append(name)
            break
    for end, names in lost.items():
        if end in _COMMON_WORDS and not quantized_otherwise:
            continue
        message = f"{some(names)}: {end} without the codes that it belongs to"
        hint = "a shard was lost, or files of two saves are mixed; copy the whole quantized model again"
        yield Finding("LW011", Severity.ERROR, message, outlines[names[0]].path, names[0], hint)
