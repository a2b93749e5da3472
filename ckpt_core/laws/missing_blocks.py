"""Finds missing blocks, experts and projections by their siblings alone."""

import re
from collections.abc import Iterator

from ckpt_core.laws.tensor_infos import Stack, TensorInfos, numbers, some, stacks
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable

_BLOCK_LEAVES = frozenset({"layers", "layer", "h", "block", "blocks", "resblocks"})
_BLOCK = re.compile(r"att|mixer|mamba|ssm|feed_forward|mlp|ffn", re.IGNORECASE)
_LEAST = 4
"""Tensors of a transformer's block: fewer are a plain layer, among which others may stand that have no tensors."""

_NUMBERED = re.compile(r"(?<![^.])\d+(?![^.])")
_EXPERTS = re.compile(r"experts?$")

_FAMILIES = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("gate_proj", "up_proj", "down_proj"),
    ("query", "key", "value"),
    ("w1", "w2", "w3"),
    ("wq", "wk", "wv", "wo"),
)
"""Projections that one module has together."""

_FAMILY_OF = {projection: number for number, family in enumerate(_FAMILIES) for projection in family}


def is_block_stack(stack: Stack) -> bool:
    """Return True for the stack of a transformer's blocks.

    A model without one of them is not whole. Other modules may be numbered with holes, since what stands between them
    has no tensors.
    """
    if stack.leaf not in _BLOCK_LEAVES or re.search(r"(^|\.)\d+(\.|$)", stack.prefix):
        return False
    full = [rests for rests in stack.blocks.values() if len(rests) >= _LEAST]
    return 2 * len(full) > len(stack.blocks) and any(_BLOCK.search(rest) for rest in full[0])


def missing_blocks(infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW003 for holes among numbered blocks and experts."""
    every = stacks(infos)
    for stack in every.values():
        if stack.holes and is_block_stack(stack):
            yield _hole(stack, "blocks", infos)
    yield from _experts([stack for stack in every.values() if _EXPERTS.search(stack.leaf)], infos)


def _experts(every: list[Stack], infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW003 for experts that a layer lacks.

    Their numbers have a hole, or other layers have more of them.
    """
    counts: dict[str, int] = {}
    for stack in every:
        family = _family(stack.prefix)
        counts[family] = max(counts.get(family, 0), stack.count)
    for stack in every:
        lost = [number for number in range(counts[_family(stack.prefix)]) if number not in stack.blocks]
        if lost:
            yield _hole(stack, "experts", infos, lost)


def _family(prefix: str) -> str:
    """Return the prefix without numbers, equal in all layers."""
    return _NUMBERED.sub("*", prefix)


def _hole(stack: Stack, what: str, infos: TensorInfos, lost: list[int] | None = None) -> Finding:
    lost = lost or stack.holes
    present = f"{stack.prefix}.{min(stack.blocks)}."
    path = next(info.path for name, info in infos.items() if name.startswith(present))
    message = f"{printable(stack.prefix)}: {what} {numbers(lost)} of 0 to {max(stack.count - 1, *lost)} are missing"
    return Finding("LW003", Severity.ERROR, message, path, hint="a file or a rank's part was lost; copy it again")


def missing_projections(infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW004 for a projection that only siblings have.

    The siblings of a block are the same block in other layers.
    """
    held: dict[int, dict[str, set[str]]] = {}
    for name in infos:
        parts = name.rsplit(".", 2)
        number = _FAMILY_OF.get(parts[-2]) if len(parts) > 1 and parts[-1] in ("weight", "qweight") else None
        if number is not None:
            parent = parts[0] if len(parts) == 3 else ""
            held.setdefault(number, {}).setdefault(parent, set()).add(parts[-2])
    for number in sorted(held):
        yield from _odd_ones(held[number], infos)


def _differ(lost: str, sibling: str, infos: TensorInfos) -> bool:
    """Return True if a module has tensors its sibling lacks.

    Then it is a module of another kind.
    """
    theirs = {name.removeprefix(sibling) for name in infos if name.startswith(f"{sibling}.")}
    return any(name.removeprefix(lost) not in theirs for name in infos if name.startswith(f"{lost}."))


def _odd_ones(held: dict[str, set[str]], infos: TensorInfos) -> Iterator[Finding]:
    siblings: dict[str, list[str]] = {}
    for parent in held:
        siblings.setdefault(_family(parent), []).append(parent)
    for parents in siblings.values():
        usual = set().union(*(held[parent] for parent in parents))
        for projection in sorted(usual):
            lost = [parent for parent in parents if projection not in held[parent]]
            # Layers that share another's keys and values are many, or have names of their own.
            few = 4 * len(lost) <= len(parents) or (len(lost) == 1 and len(parents) < 4)
            if lost and few and not _differ(lost[0], next(p for p in parents if p not in lost), infos):
                names = [f"{parent}.{projection}" for parent in lost]
                message = f"{some(names)}: missing, and every other layer has one"
                path = next(info.path for name, info in infos.items() if name.startswith(f"{lost[0]}."))
                hint = "a loader starts it at random; copy the file that had it again"
                yield Finding("LW004", Severity.ERROR, message, path, hint=hint)
