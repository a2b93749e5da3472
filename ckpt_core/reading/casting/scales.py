"""Finds the scales, zero points and tables of quantized tensors.

They say how codes are to be read. They are floating, and no weights: rounding one changes each weight that it scales. A
name alone does not tell, since a norm's weight may be called `scale`; what tells is a name of the table, and codes in
the same module.

Names are those of `schemes`, and besides, of no scheme's weights: transformers' FBGEMM and BitNet, the 8-bit states of
bitsandbytes (`optim/optimizer.py`), TransformerEngine.
"""

import re
from collections.abc import Iterable, Iterator, Set

from ckpt_core.reading.casting.schemes import SCHEMES
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import TensorInfo

_OF_SCHEMES = frozenset(end.rpartition(".")[2] for one in SCHEMES for end in (*one.scales, *one.others))
_OTHERS = re.compile(
    r"(^|_)(scales?|scale_inv|scale_ub|absmax|quant_map|qmap|code|codebooks?|zeros?|zero_points?|shift"
    r"|amax|amax_history|(scale|scale_inv|amax_history)_(fwd|bwd))\d*$"
)
"""The last part of a name, where codes are in its module."""

_ACTIVATIONS = re.compile(r"(^|_)([kvq]|kv|prob|input|output|activation)_scale(_inv|_ub)?$")
"""Scales of what goes through a module: the codes are in it, or in a module below."""

_CODES = frozenset(
    {
        *(DType.U8, DType.I8, DType.I16, DType.U16, DType.I32, DType.U32),
        *(DType.F4, DType.F6_E2M3, DType.F6_E3M2),
        *(DType.F8_E4M3, DType.F8_E5M2, DType.F8_E8M0, DType.F8_E4M3FNUZ, DType.F8_E5M2FNUZ),
    }
)

SCALES = "scales of quantized tensors"
"""Why a cast leaves a tensor as it is."""


def scale_names(infos: Iterable[tuple[str, TensorInfo]]) -> frozenset[str]:
    """Return the names of a component's scales.

    They are floating tensors of 16 bits and more that belong to quantized ones of the same component.
    """
    rows = list(infos)
    codes = {name for name, info in rows if info.dtype in _CODES}
    if not codes:
        return frozenset()
    beside = codes | {_module(name) for name in codes}
    above = {module for name in beside for module in _modules(name)}
    floating = (name for name, info in rows if info.dtype.is_float and info.dtype not in _CODES)
    return frozenset(name for name in floating if _is_scale(name, beside, above))


def _is_scale(name: str, beside: Set[str], above: Set[str]) -> bool:
    """Return True if a floating tensor is a scale.

    `beside` are the modules that have codes, `above` those and what holds them.
    """
    module = _module(name)
    last = name[len(module) :].lstrip(".:/")
    if module in beside and (last in _OF_SCHEMES or _OTHERS.search(last)):
        return True
    return bool(_ACTIVATIONS.search(last)) and module in above


def _modules(name: str) -> Iterator[str]:
    """Yield a name and every module above it, "" last."""
    yield name
    while name:
        name = _module(name)
        yield name


def _module(name: str) -> str:
    """Return a name without its last part.

    "" for a name of one part.
    """
    return name[: max(0, *(name.rfind(mark) for mark in ".:/"))]
