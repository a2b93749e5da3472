"""Checks that quantized codes and their scales belong together.

Codes need their scales, scales their codes, and each a type that it can have. The names are those of
`reading.casting.schemes`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ckpt_core.laws.tensor_infos import TensorInfos, some
from ckpt_core.reading.casting.schemes import FLOATS, SCHEMES, Scheme
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import TensorInfo
from ckpt_core.schema.text import printable

_WIDE = frozenset({DType.F32, DType.F64})
_USUAL = {
    "weight_scale_inv": _WIDE,
    "weight.absmax": _WIDE,
    "SCB": _WIDE,
    "scales": FLOATS - {DType.BF16},
}
"""Types that the tools of a scheme write scales in, where they differ little; another may come of a cast."""


def _belongings() -> dict[str, tuple[str, ...]]:
    """Return the scales' names, each with its possible codes.

    One of the codes must stand beside the scales.
    """
    belongings = {"g_idx": ["qweight", "weight_packed", "weight"], "weight_g_idx": ["weight_packed"]}
    for scheme in SCHEMES:
        for end in (*scheme.scales, *scheme.others):
            if end not in _PLAIN_WORDS:
                belongings.setdefault(end, []).append(scheme.codes)
    belongings["weight_scale"] += ["qweight"]
    belongings["_weight_scale"] += ["_weight_qdata_0"]
    return {end: tuple(codes) for end, codes in belongings.items()}


_PLAIN_WORDS = frozenset({"scale", "scale_weight"})
"""Names that norms give to their weights."""

_ORPHANS = _belongings()

_COMMON_WORDS = frozenset({"scales", "weight_scale", "weight_scales", "zero", "codebooks", "weight_shape"})
"""Names that a module may give to a parameter of its own, where nothing else in the model is quantized."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The quantized codes of one module, and their scheme."""

    scheme: Scheme
    module: str
    name: str
    info: TensorInfo


def find_codes(infos: TensorInfos) -> Iterator[Codes]:
    """Yield the quantized weights among tensors.

    They are told from names and types, and from their scales where those are alike.
    """
    for name, info in infos.items():
        if info.dtype in FLOATS:
            continue
        readings = [codes for scheme in SCHEMES if (codes := _as_codes(scheme, name, info)) is not None]
        if readings:
            yield max(readings, key=lambda codes: _likeness(codes, infos))


def _as_codes(scheme: Scheme, name: str, info: TensorInfo) -> Codes | None:
    module = name.removesuffix(scheme.codes)
    is_end = module != name and (not module or module.endswith("."))
    return Codes(scheme, module, name, info) if is_end and info.dtype in scheme.types else None


def _likeness(codes: Codes, infos: TensorInfos) -> int:
    """Return how much speaks for a scheme.

    Its scales count, their shape and their type, and what else it needs.
    """
    scale = scale_of(codes, infos)
    others = len(_others(codes, infos))
    if scale is None:
        return others
    info = infos[scale]
    return 1 + others + codes.scheme.fits(codes.info.shape, info.shape) + _can_be(codes.scheme, info.dtype)


def _others(codes: Codes, infos: TensorInfos) -> list[str]:
    """Return the scheme's present tensors besides codes and scales."""
    return [end for end in codes.scheme.others if f"{codes.module}{end}" in infos]


def _can_be(scheme: Scheme, dtype: DType) -> bool:
    return not scheme.scale_types or dtype in scheme.scale_types


def scale_of(codes: Codes, infos: TensorInfos) -> str | None:
    """Return the name of the codes' scales; None without scales."""
    return next((name for end in codes.scheme.scales if (name := f"{codes.module}{end}") in infos), None)


def has_scales(codes: Codes, infos: TensorInfos) -> bool:
    """Return True if the codes have scales, under any name."""
    return scale_of(codes, infos) is not None


def quantized(infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW010, LW011 and LW016 for codes and scales.

    Codes without scales, scales without codes, and scales of shapes that their codes cannot have.

    Codes without scales, scales without codes, and scales that the codes cannot have.
    """
    if not any(info.dtype not in FLOATS for info in infos.values()) and not _named_like_scales(infos):
        return
    every = list(find_codes(infos))
    yield from _without_scales(every, infos)
    yield from _misfits(every, infos)
    yield from _orphans(infos, quantized_otherwise=bool(every))


def scale_types(infos: TensorInfos, *, inventory: bool) -> Iterator[Finding]:
    """Yield LW012 and LW013 for the types of scales.

    LW012: no tool writes the type. LW013: it is narrower than usual.

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
    return usual is not None and dtype in FLOATS and dtype not in usual


def _without_scales(every_codes: list[Codes], infos: TensorInfos) -> Iterator[Finding]:
    lost: dict[tuple[str, str], list[Codes]] = {}
    certain = _certain_types(infos)
    for codes in every_codes:
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
    """Return the types that make a `weight` without scales codes.

    Others of the model have scales for these types. Integers named `weight` may be anything, and F8 may be a plain
    cast.
    """
    ends = {".".join(name.split(".")[-count:]) for name in infos for count in (1, 2)}
    of_weights = (scheme for scheme in SCHEMES if scheme.codes == "weight")
    known = (scheme.types for scheme in of_weights if ends & set(scheme.scales) - {"scale"})
    return frozenset[DType]().union(*known)


def _misfits(every_codes: list[Codes], infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW016 for scales whose shape doesn't fit their codes.

    No group, block, row or column of the codes makes the shape.
    """
    for codes in every_codes:
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
