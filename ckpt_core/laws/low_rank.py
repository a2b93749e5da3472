"""Checks that the factors of low-rank adapters form pairs.

Each A needs its B, and both the same inner size.

Sources: peft `tuners/lora/layer.py` (A is [r, in], B is [out, r]; for embeddings likewise), diffusers' older
`lora.down`/`lora.up`, and minimind's `lora.A`/`lora.B`, which have the same shapes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ckpt_core.laws.tensor_infos import TensorInfos
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import TensorInfo
from ckpt_core.schema.text import printable

_FACTOR = re.compile(
    r"(?P<module>(?:.*?\.)?)(?:lora_embedding_|lora_|lora\.|lora_linear_layer\.)(?P<side>[AB]|down|up)(?P<rest>(?:\..*)?)"
)
_OTHER = {"A": "B", "B": "A", "down": "up", "up": "down"}


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a pair.

    Attributes:
        module: The module that the pair changes.
        name: The tensor's own name.
        partner: The name of the other factor.
        first: Whether it is the one that is multiplied first: A, or down.
        info: Its type and shape.
    """

    module: str
    name: str
    partner: str
    first: bool
    info: TensorInfo


def factors(infos: TensorInfos) -> Iterator[Factor]:
    """Yield every factor of a low-rank adapter among tensors."""
    for name, info in infos.items():
        if "lora" not in name:
            continue
        match = _FACTOR.fullmatch(name)
        if match is not None and (match["rest"] in ("", ".weight") or _is_named(match["rest"])):
            side = match["side"]
            partner = f"{name[: match.start('side')]}{_OTHER[side]}{match['rest']}"
            yield Factor(match["module"].removesuffix("."), name, partner, side in ("A", "down"), info)


def _is_named(rest: str) -> bool:
    """Return True if an adapter's name follows the factor.

    Examples are `.default` and `.default.weight`.
    """
    return re.fullmatch(r"\.[\w-]+(\.weight)?", rest) is not None and rest != ".bias"


def unpaired(infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW005 for factors that form no pair.

    The partner is missing, or the two cannot be multiplied.
    """
    for factor in factors(infos):
        partner = infos.get(factor.partner)
        if partner is None:
            message = f"{printable(factor.name)}: its partner {printable(factor.partner)} is missing"
            hint = "the adapter was cut short; copy it again, or save it again from the training"
            yield Finding("LW005", Severity.ERROR, message, factor.info.path, factor.name, hint)
        elif factor.first and (sizes := _inner(factor.info.shape, partner.shape)) is not None:
            message = f"{printable(factor.name)}: {sizes[0]} rows, and its partner has {sizes[1]} columns"
            hint = "the two factors are of different saves; copy the adapter again"
            yield Finding("LW005", Severity.ERROR, message, factor.info.path, factor.name, hint)


def _inner(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, int] | None:
    """Return rows of A and columns of B where they differ.

    None where they agree, or LW001 speaks of them.
    """
    if len(first) < 2 or len(second) < 2 or 0 in first + second:
        return None
    grouped = len(first) > 2 and first[0] % second[1] == 0  # of a convolution in groups B has a column a group
    return None if grouped or first[0] == second[1] else (first[0], second[1])
