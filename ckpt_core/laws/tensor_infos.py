"""The tensors that laws judge, and stacks of equal blocks.

A law sees the names, shapes and types of a component's tensors.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ckpt_core.schema.tensors import TensorInfo
from ckpt_core.schema.text import printable

TensorInfos = Mapping[str, TensorInfo]

_SHOWN = 3
"""Names that one finding spells out; the rest are counted."""

_NUMBER = re.compile(r"(?:^|\.)(\d{1,9})\.")


@dataclass(slots=True)
class Stack:
    """Tensors whose names differ by one number: `model.layers.0.mlp.weight`.

    Attributes:
        prefix: What stands before the number: `model.layers`.
        blocks: The rest of each name, by number.
    """

    prefix: str
    blocks: dict[int, set[str]] = field(default_factory=dict)

    @property
    def leaf(self) -> str:
        return self.prefix.rpartition(".")[2]

    @property
    def count(self) -> int:
        """One more than the highest number."""
        return max(self.blocks) + 1

    @property
    def holes(self) -> list[int]:
        """Numbers below the highest that no tensor has."""
        return [number for number in range(self.count) if number not in self.blocks]


def stacks(names: Iterable[str]) -> dict[str, Stack]:
    """Return the stacks of a table, by prefix.

    A prefix may hold numbers of outer stacks.
    """
    by_prefix: dict[str, Stack] = {}
    block, ends = "\0", list[tuple[set[str], int]]()
    for name in names:
        if not name.startswith(block) or _NUMBER.search(name, len(block) - 1):
            block, ends = "\0", []
            for number in _NUMBER.finditer(name):
                prefix = name[: number.start(1)].removesuffix(".")
                stack = by_prefix.get(prefix)
                if stack is None:
                    stack = by_prefix[prefix] = Stack(prefix)
                block = name[: number.end()]
                ends.append((stack.blocks.setdefault(int(number[1]), set()), number.end()))
        for rests, end in ends:  # names of one block mostly follow each other
            rests.add(name[end:])
    return by_prefix


def some(names: Sequence[str]) -> str:
    """Return the first of several names, and how many follow."""
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def numbers(found: Sequence[int]) -> str:
    """Return numbers as text, at most three spelled out.

    `3`, `3 and 5`, `0, 1, 2 and 7 more`.
    """
    shown = [str(number) for number in found[:_SHOWN]]
    if len(found) > _SHOWN:
        return f"{', '.join(shown)} and {len(found) - _SHOWN} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
