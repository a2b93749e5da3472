"""Findings about the values of a tensor.

NaN and infinities, nothing but zeros, numbers too large for F16.
"""

import re
from collections.abc import Iterator

from ckpt_core.reading.values import NonFinite
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import TensorEntry
from ckpt_core.schema.text import printable

_BEYOND_F16: dict[DType, int] = {DType.F32: 0x477F_F000, DType.BF16: 0x4780, DType.F64: 0x40EF_FE00_0000_0000}
"""Of each wider type: the bits of the least magnitude that F16 rounds to infinity, 65520 (IEEE 754-2019, 4.3.1)."""

_LORA = re.compile(r"(?:^|\.)lora(?:_|\.)(?:embedding_)?[AB](?:\.|$)")
"""A factor of a low-rank adapter, as PEFT (`lora_A`) and minimind (`lora.A`) name it."""

_WEIGHTS = ("model", "ema", "adapter")


def findings_of_values(
    kind: str, name: str, entry: TensorEntry, path: str | None, seen: NonFinite, *, looked_at: int | None = None
) -> Iterator[Finding]:
    """Yield VL001 to VL005 for one tensor.

    Args:
        kind: Kind of its component: an optimizer's moments may well be zero.
        name: Its name.
        entry: Its type and shape.
        path: The file that it begins in.
        seen: What was counted over all of its values.
        looked_at: How many values that were, where it was not all of them.
    """
    of = f"{entry.numel} values" if looked_at is None else f"the {looked_at} values that were read"
    if seen.nan:
        message = f"{printable(name)}: {seen.nan} of {of} are NaN"
        yield Finding("VL001", Severity.ERROR, message, path, name)
    if seen.inf:
        hint = "mask buffers may hold them on purpose"
        if entry.dtype is DType.F16:
            hint = "values beyond 65504 become infinite in F16; save from a wider type"
        message = f"{printable(name)}: {seen.inf} of {of} are infinite"
        yield Finding("VL002", Severity.WARNING, message, path, name, hint)
    if kind in _WEIGHTS and entry.dtype.is_float and entry.numel > 1 and not seen.nan and not seen.inf:
        yield from _of_magnitude(name, entry, path, seen.largest, whole=looked_at is None)


def _of_magnitude(name: str, entry: TensorEntry, path: str | None, largest: int, *, whole: bool) -> Iterator[Finding]:
    limit = _BEYOND_F16.get(entry.dtype)
    if limit is not None and largest >= limit:
        message = f"{printable(name)}: has values beyond 65504, which F16 cannot hold"
        yield Finding("VL004", Severity.INFO, message, path, name, "cast to BF16 instead of F16")
    if largest or not whole or entry.dtype not in _IEEE_CHECKED:
        return
    if _LORA.search(name):
        message = f"{printable(name)}: this factor of the adapter is all zeros, so that it changes nothing"
        yield Finding("VL005", Severity.WARNING, message, path, name, "an adapter that was never trained, or not saved")
    elif len(entry.shape) > 1:
        message = f"{printable(name)}: all {entry.numel} values are zero"
        yield Finding("VL003", Severity.WARNING, message, path, name, "a torn write, or a layer that was never trained")


_IEEE_CHECKED = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64, DType.F8_E5M2})
"""Types whose magnitudes are looked at; of the others zero is not told."""
