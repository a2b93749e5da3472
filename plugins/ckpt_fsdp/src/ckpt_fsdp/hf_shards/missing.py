"""Finds missing shards, and tensors without a proved end.

Numbers and holes tell.
"""

from collections.abc import Collection, Iterator, Mapping
from math import prod

from ckpt_core import Finding, Severity, option, printable
from ckpt_fsdp.hf_shards.boxes import Sharded, Shards
from ckpt_fsdp.hf_shards.extent import cut_along, number_of_ranks, unproved
from ckpt_fsdp.hf_shards.names import parse, shard_file

_SHOWN = 3
_COPY = "copy the shards again, of all ranks"


def missing(shards: Shards, *, ranks: int | None, whole: Collection[str]) -> Iterator[Finding]:
    """Yield findings about missing shards.

    The table itself shows the holes.

    Args:
        shards: What the headers say.
        ranks: How many ranks wrote them, where somebody says so.
        whole: Names of the tensors whose shape a joined file gives.
    """
    here = {name.rank for name in shards.names}
    told = ranks if ranks is not None else number_of_ranks(shards.tensors)
    holed = {name: tensor for name, tensor in shards.tensors.items() if _has_hole(tensor)}
    yield from _missing_numbers(shards)
    yield from _missing_ranks(shards, here, max(told or 0, *here), holed)
    open_ended = [name for name in unproved(shards.tensors) if name not in {*whole, *holed}]
    if open_ended and told is None:
        yield _open_ended(shards, open_ended, max(here))


def _has_hole(tensor: Sharded) -> bool:
    distinct = {(box.offsets, box.sizes) for box in tensor.boxes}
    return sum(prod(sizes) for _, sizes in distinct) < prod(tensor.shape)


def _missing_numbers(shards: Shards) -> Iterator[Finding]:
    """Yield DC052 for files without any shard.

    No rank has one: with a gap in these numbers, whole tensors are lost.
    """
    numbers, most = {name.number for name in shards.names}, max(name.of for name in shards.names)
    for number in range(1, most + 1):
        if number not in numbers:
            path = shard_file(1, number, most)
            message = f"{path}: of file {number} of {most} no rank has a shard"
            yield Finding("DC052", Severity.ERROR, message, path, hint=_COPY, component="model")


def _missing_ranks(
    shards: Shards, here: Collection[int], ranks: int, holed: Mapping[str, Sharded]
) -> Iterator[Finding]:
    there = {(name.rank, name.number) for name in shards.names}
    most = max(name.of for name in shards.names)
    lacking = _by_number(holed)
    for rank in range(1, ranks + 1):
        for number in sorted({number for _, number in there}):
            if (rank, number) in there:
                continue
            path = shard_file(rank, number, most)
            if number in lacking:
                message = f"{path}: missing, and {_some(lacking[number])} not whole without it"
                yield Finding("DC052", Severity.ERROR, message, path, lacking[number][0], _COPY, "model")
            elif rank > max(here):
                message = f"{path}: missing: {ranks} ranks wrote this checkpoint, {_goes_on(shards, number)}"
                yield Finding("DC052", Severity.ERROR, message, path, hint=_COPY, component="model")
            elif rank not in here:
                message = f"{path}: missing, and no hole shows; a rank that had nothing to write leaves no file"
                yield Finding("DC052", Severity.WARNING, message, path, hint=_COPY)


def _by_number(tensors: Mapping[str, Sharded]) -> dict[int, list[str]]:
    by_number: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        by_number.setdefault(_number(tensor), []).append(name)
    return by_number


def _goes_on(shards: Shards, number: int) -> str:
    """Return in words which tensors stop short.

    The shards of the last ranks are missing there.
    """
    short = [name for name in unproved(shards.tensors) if _number(shards.tensors[name]) == number]
    if not short:
        return "and it may hold tensors of its own"
    axis, tensor = cut_along(shards.tensors[short[0]]), shards.tensors[short[0]]
    more = f", and {len(short) - 1} more tensors" if len(short) > 1 else ""
    return f"and {printable(short[0])} may go on behind index {tensor.shape[axis]} of dimension {axis}{more}"


def _number(tensor: Sharded) -> int:
    shard = parse(tensor.boxes[0].path)
    assert shard is not None  # boxes come from shards alone
    return shard.number


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:_SHOWN])
    rest = len(names) - _SHOWN
    return f"{shown} and {rest} more are" if rest > 0 else f"{shown} {'is' if len(names) == 1 else 'are'}"


def _open_ended(shards: Shards, names: list[str], ranks: int) -> Finding:
    first = shards.tensors[names[0]]
    axis = cut_along(first)
    rest = f" and of {len(names) - 1} more" if len(names) > 1 else ""
    message = (
        f"nothing here proves that {printable(names[0])} ends at index {first.shape[axis]} of dimension {axis}{rest}: "
        f"if more than {ranks} ranks wrote, the shards of the last cannot be missed"
    )
    return Finding(
        "DC053", Severity.WARNING, message, None, names[0], f"say how many wrote: {option('world_size', ranks)}"
    )
