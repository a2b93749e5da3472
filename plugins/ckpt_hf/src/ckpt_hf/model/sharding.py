"""Plans shards from names and sizes alone.

The rule is huggingface_hub's (`serialization/_base.py`, split_state_dict_into_shards_factory): tensors in their order,
a new shard where the next one would not fit, and one that is larger than the limit alone in its own. What shares
storage stays together, and counts once.
"""

import re
from collections.abc import Mapping
from fractions import Fraction

from ckpt_core import TensorInfo, UsageError, option, printable

DEFAULT_LIMIT = "50GB"
"""What save_pretrained of transformers 5 takes; the limit of 5GB before it was git-lfs's."""

_SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(?:([KMGT])(i?)B)?\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Parse a size in bytes.

    `5GB`, `200MB` or `1.5TB` (powers of 1000, as transformers counts), `1GiB` (of 1024), or plain bytes.

    Raises:
        UsageError: It is none of these, or less than one byte.
    """
    match = _SIZE.fullmatch(text)
    if match is not None:
        number, unit, binary = match.groups()
        power = " KMGT".index(unit.upper()) if unit else 0
        size = int(Fraction(number) * (1024 if binary else 1000) ** power)
        if size > 0:
            return size
    raise UsageError(
        f"{option('max_shard_size', printable(text, 40))}: not a size; write 5GB, 200MB, 1GiB, or a number of bytes"
    )


def plan_shards(tensors: Mapping[str, TensorInfo], limit: int) -> list[list[str]]:
    """Return the names in each shard.

    One empty shard where there is no tensor.

    Args:
        tensors: Infos by name, in order; one that is tied to another goes where that one goes.
        limit: Most bytes of tensors in a shard, but for a tensor that is larger by itself.
    """
    together: dict[str, list[str]] = {}
    for name, info in tensors.items():
        together.setdefault(str(info.alias_of) if is_tied(info, tensors) else name, []).append(name)
    shards: list[list[str]] = []
    current: list[str] = []
    size = 0
    for names in together.values():
        nbytes = tensors[names[0]].nbytes
        if nbytes > limit:
            shards.append(names)
            continue
        if size + nbytes > limit:
            shards.append(current)
            current, size = [], 0
        current.extend(names)
        size += nbytes
    if current or not shards:
        shards.append(current)
    return shards


def is_tied(info: TensorInfo, among: Mapping[str, TensorInfo]) -> bool:
    """Return True if a tensor shares another's storage.

    The other must be among these tensors.
    """
    return info.alias_of is not None and info.alias_of in among
