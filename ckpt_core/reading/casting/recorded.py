"""Reads the casts that a seal records of a conversion.

They are scales that kept their type, and components that lost digits.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import CorruptError
from ckpt_core.reading.casting.scales import SCALES
from ckpt_core.schema.access import Files
from ckpt_core.schema.dtypes import BY_CODE, DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.schema.text import printable
from ckpt_core.storage.sealing import read_seal

if TYPE_CHECKING:
    from ckpt_core.schema.roles import Role

_HOLDS = {
    DType.F16: {DType.F16, DType.F32, DType.F64},
    DType.BF16: {DType.BF16, DType.F32, DType.F64},
    DType.F32: {DType.F32, DType.F64},
    DType.F64: {DType.F64},
}
"""The types that hold every value of each."""


def uncast_scales(seal: Seal) -> Iterator[Finding]:
    """Yield CA007 for components whose scales kept their type.

    Their other weights were cast.
    """
    recorded = seal.provenance.get("uncast")
    for one in recorded if isinstance(recorded, list) else ():
        if isinstance(one, dict) and one.get("why") == SCALES:
            label = printable(str(one.get("component")), 80)
            message = (
                f"{label}: {one.get('tensors')} scales of quantized tensors ({_listed(one.get('names'))}) kept their "
                f"type ({_listed(one.get('dtypes'))}) when this was converted with another one"
            )
            yield Finding("CA007", Severity.INFO, message, hint="nothing is to be done: rounding them changes weights")


def narrowed_roles(files: Files) -> "Iterator[Role]":
    """Yield a role for each component that a cast narrowed.

    A conversion cast it to a type that does not hold all of its values.
    """
    from ckpt_core.schema.roles import Presence, Role

    try:
        seal = read_seal(files)
    except CorruptError:
        return  # which the checks of the seal say
    narrowed: dict[str, str] = {}
    for name, one in seal.certificates.items() if seal is not None else ():
        for step in one.operation.split("; "):
            if _narrows(step):
                narrowed.setdefault(name.partition("/")[0], step)
    for label, step in narrowed.items():
        kind, _, name = label.partition(":")
        yield Role(kind, Presence.NARROWED, note=f"ckpt convert: {step}", name=name)


def _narrows(step: str) -> bool:
    match step.split():
        case ["cast", was, "to", becomes] if was in BY_CODE and becomes in BY_CODE:
            return BY_CODE[becomes] not in _HOLDS.get(BY_CODE[was], ())
    return False


def _listed(names: Any) -> str:
    return ", ".join(printable(str(name), 40) for name in names[:6]) if isinstance(names, list) else "unknown"
