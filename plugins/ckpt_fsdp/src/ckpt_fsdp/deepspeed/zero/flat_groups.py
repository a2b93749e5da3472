"""The flat fp32 weights of a tag as spaces over ranks.

They are proved to be as large as the parameters need them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from ckpt_core import DType, Finding, Severity, TensorTable, UnsupportedFormatError, printable
from ckpt_fsdp.deepspeed.rank_files import OptimStates
from ckpt_fsdp.deepspeed.tag_content import TagContent
from ckpt_fsdp.deepspeed.zero.partitions import Chain, FlatStretch, Space, Vector, partitioned_places, whole_places

if TYPE_CHECKING:
    from ckpt_fsdp.deepspeed.fields import Shape

_ALIGNED_TO = 2
"""Elements for each rank to which the whole is padded. Source: `utils/zero_to_fp32.py` (zero2_align)."""

_PARAMETER_ALIGNED_TO = 16
"""Most bytes, so elements, to which single parameters are aligned. Source: `runtime/zero/stage_1_and_2.py`."""


@dataclass(slots=True)
class GroupSpace:
    """The fp32 weights of one group.

    Several groups that cannot be told apart have one space.

    Attributes:
        groups: Numbers of the groups, as each optim_states file counts them.
        places: Where each of its parameters begins.
        space: Where its elements are stored.
        stored: Elements that each rank has, by rank.
    """

    groups: tuple[int, ...]
    places: dict[str, FlatStretch]
    space: Space
    stored: dict[int, int] = field(default_factory=dict)


def spaces_of(content: TagContent) -> tuple[list[GroupSpace], list[Finding]]:
    """Return the spaces of the trained parameters.

    ZE007 tells what does not fit.
    """
    first = content.first
    assert first is not None and content.model.groups is not None
    if first.stage == 3:
        return _partitioned(content, content.model.groups, len(first.flat))
    spaces: list[GroupSpace] = []
    findings: list[Finding] = []
    for number, shapes in enumerate(content.model.groups):
        space, wrong = _whole(content, number, shapes)
        spaces.append(space)
        findings += wrong
    return spaces, findings


def vector(table: TensorTable, name: str) -> tuple[DType, tuple[int, ...], Vector]:
    """Return a rank file's tensor as a run of elements.

    Its type and shape, and where it lies.

    Raises:
        UnsupportedFormatError: It is not contiguous, or big-endian.
    """
    info = table.info(name)
    if info.path is None:
        raise UnsupportedFormatError(
            f"{printable(name)}: a partition that is not one run of little-endian bytes; load it with DeepSpeed and "
            "save it again",
            code="ZE010",
            tensor=name,
        )
    return info.dtype, info.shape, Vector(info.path, info.offset, info.numel)


def chains(
    content: TagContent, names: Mapping[int, Sequence[str]]
) -> tuple[DType, tuple[Chain | None, ...], list[Finding]]:
    """Return what the ranks have of something flat.

    ZE007 where their types differ: such a rank is left out.

    Args:
        content: The files.
        names: For each rank, the tensors of its file that make it up.
    """
    by_rank: list[Chain | None] = [None] * content.world
    findings: list[Finding] = []
    kind: DType | None = None
    for rank, parts in sorted(names.items()):
        vectors = [vector(content.optims[rank].torch.tensors, name) for name in parts]
        kinds = {dtype for dtype, _, _ in vectors}
        kind = kind or next(iter(kinds), None)
        if kinds - {kind}:
            findings.append(_wrong(content, content.optims[rank], f"its partitions are of {sorted(map(str, kinds))}"))
        else:
            by_rank[rank] = Chain([part for _, _, part in vectors])
    return kind or DType.F32, tuple(by_rank), findings


def _whole(content: TagContent, number: int, shapes: "dict[str, Shape]") -> tuple[GroupSpace, list[Finding]]:
    between = _between(content, number, len(shapes))
    places, needed = whole_places(shapes, between)
    dtype, by_rank, findings = chains(content, {rank: [o.flat[number]] for rank, o in content.optims.items()})
    stored = {rank: chain.numel for rank, chain in enumerate(by_rank) if chain is not None}
    partition = _partition(content, number, stored)
    padding = _ALIGNED_TO * content.world + (_PARAMETER_ALIGNED_TO * len(shapes) if between else 0)
    if not 0 <= partition * content.world - needed < padding:
        reason = f"{content.world} partitions of {partition} elements, and its parameters have {needed}"
        findings.append(_wrong(content, content.optims[min(stored)], f"group {number}: {reason}"))
    kept = list(by_rank)
    for rank, numel in stored.items():
        least = min(max(needed - rank * partition, 0), partition)
        if not least <= numel <= partition or not _agrees(content, rank, number, places, partition):
            reason = f"group {number}: it has {numel} elements, or parts of parameters, that its rank cannot have"
            findings.append(_wrong(content, content.optims[rank], reason))
            kept[rank] = None
    return GroupSpace((number,), places, Space(dtype, tuple(kept), partition), stored), findings


def _between(content: TagContent, number: int, count: int) -> list[int] | None:
    """Return the padding behind each parameter of a group.

    The result is None where there is no padding.
    """
    lists = content.first.between if content.first is not None else None
    row = lists[number] if lists is not None and number < len(lists) else []
    return row if len(row) == count and any(row) else None


def _partition(content: TagContent, number: int, stored: Mapping[int, int]) -> int:
    """Return the elements of a partition.

    A rank without padding has all of it; DeepSpeed before 0.19 counts only the last's.
    """
    sizes = []
    for rank, numel in stored.items():
        optim = content.optims[rank]
        padding = optim.padding[number] if number < len(optim.padding) else 0
        if not padding or optim.padded:
            return numel
        sizes.append(numel + padding)
    return min(sizes, default=0)


def _agrees(content: TagContent, rank: int, number: int, places: Mapping[str, FlatStretch], partition: int) -> bool:
    """Return True if a rank's parts are as it says.

    They are parts of parameters.

    With round_robin_gradients DeepSpeed counts them in another order than it stores them, so that nothing follows.
    """
    fragments = content.optims[rank].fragments
    zero = content.model.config.get("zero_optimization")
    if fragments is None or number >= len(fragments) or (isinstance(zero, dict) and zero.get("round_robin_gradients")):
        return True
    return fragments[number] == dict(_parts(places, rank, partition))


def _parts(places: Mapping[str, FlatStretch], rank: int, partition: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the parameters that a rank has something of.

    Each has its first element in the rank's partition, and its number of elements there.
    """
    low, high = rank * partition, (rank + 1) * partition
    items = list(places.items())
    for name, place in items[max(bisect_right(items, low, key=lambda item: item[1].at) - 1, 0) :]:
        begin, end = max(place.at, low), min(place.at + prod(place.shape), high)
        if place.at >= high:
            return
        if begin < end:
            yield name, (begin - low, end - begin)


def _partitioned(
    content: TagContent, groups: "list[dict[str, Shape]]", count: int
) -> tuple[list[GroupSpace], list[Finding]]:
    """Return the spaces of stage 3.

    One for each sub-group; one for all where shapes and sub-groups were not counted alike.
    """
    findings: list[Finding] = []
    spaces: list[GroupSpace] = []
    if len(groups) != count:
        groups = [{name: shape for group in groups for name, shape in group.items()}]
    for index, shapes in enumerate(groups):
        numbers = (index,) if len(groups) == count else tuple(range(count))
        places, needed = partitioned_places(shapes, content.world)
        names = {rank: [optim.flat[number] for number in numbers] for rank, optim in content.optims.items()}
        dtype, by_rank, wrong = chains(content, names)
        findings += wrong
        kept = list(by_rank)
        stored = {rank: chain.numel for rank, chain in enumerate(by_rank) if chain is not None}
        for rank, numel in stored.items():
            if numel != needed:
                reason = f"group {index}: it has {numel} elements, and its parts of the parameters are {needed}"
                findings.append(_wrong(content, content.optims[rank], reason))
                kept[rank] = None
        spaces.append(GroupSpace(numbers, places, Space(dtype, tuple(kept), None), stored))
    return spaces, findings


def _wrong(content: TagContent, optim: OptimStates, reason: str) -> Finding:
    path = content.path(optim.file.name)
    hint = "it is of another model or another save; copy the file of this one"
    return Finding("ZE007", Severity.ERROR, f"{printable(path)}: {reason}", path, hint=hint)
