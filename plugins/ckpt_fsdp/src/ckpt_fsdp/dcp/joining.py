"""Joins several metadata files to one.

The ranks of a save without coordination each wrote their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ckpt_core import CorruptError, printable
from ckpt_fsdp.dcp.metadata import DcpMetadata, StoredItem, StoredTensor


@dataclass(slots=True)
class Joined:
    """The joined content of metadata files.

    Attributes:
        whole: Their tensors with the boxes of all, and of each item the one of the lowest rank.
        elsewhere: What further ranks stored under the name of an item.
    """

    whole: DcpMetadata
    elsewhere: dict[str, list[StoredItem]] = field(default_factory=dict)


def join(parts: Sequence[DcpMetadata]) -> Joined:
    """Join metadata files, in the order of their ranks.

    Raises:
        CorruptError: DC002, two contradict each other on a tensor's type or shape.
    """
    if len(parts) == 1:
        return Joined(parts[0])
    whole = DcpMetadata(parts[0].path, facts=dict(parts[0].facts))
    joined = Joined(whole)
    planner_data: dict[str, tuple[str | int, ...]] = {}
    for part in parts:
        for name, tensor in part.tensors.items():
            whole.tensors[name] = _both(part, name, whole.tensors.get(name), tensor)
        for name, item in part.items.items():
            if name not in whole.items:
                whole.items[name] = item
            elif item is not None:
                joined.elsewhere.setdefault(name, []).append(item)
        planner_data.update(part.planner_data or {})
    whole.planner_data = planner_data or None
    whole.files = tuple(dict.fromkeys(path for part in parts for path in part.files))
    return joined


def _both(part: DcpMetadata, name: str, first: StoredTensor | None, second: StoredTensor) -> StoredTensor:
    if first is None:
        return second
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        raise CorruptError(
            f"{printable(part.path)}: {printable(name)} is {second.dtype.code} {second.shape} here and "
            f"{first.dtype.code} {first.shape} in another rank's metadata; these are files of two saves",
            code="DC002",
            path=part.path,
            tensor=name,
        )
    return first._replace(parts=first.parts + second.parts)
