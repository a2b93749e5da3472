"""Tells how far each tensor goes.

No file of the layout says it, so that shards lost at the end leave no hole to see.

What proves it: a file that the shards were joined into, the number of ranks, or how DTensor cuts. It gives each rank
as many rows as `torch.chunk` does: all the same number, but for the last that has any, and a box even to a rank that
has none. So a shorter last box, or an empty one, stands at the end; and where the cut of one tensor fits one number of
ranks only, and that many are here, no tensor goes on. Source: torch `torch/distributed/tensor/placement_types.py`
(Shard._custom_chunk, local_shard_size_and_offset).
"""

from collections.abc import Mapping
from math import inf, prod

from ckpt_fsdp.hf_shards.boxes import Sharded


def unproved(tensors: Mapping[str, Sharded]) -> list[str]:
    """Return the tensors that may go on behind their boxes.

    The boxes alone are looked at; tensors that are cut come first.
    """
    names = [name for name, tensor in tensors.items() if not _ends(tensor)]
    return sorted(names, key=lambda name: not _cut(tensors[name]))


def number_of_ranks(tensors: Mapping[str, Sharded]) -> int | None:
    """Return the number of ranks that the cut shows.

    None where several fit, or tensors are not cut by one rule.
    """
    bounds = [bound for bound in map(_ranks_that_fit, tensors.values()) if bound is not None]
    if not bounds or not all(_one_box_a_rank(tensor) for tensor in tensors.values()):
        return None
    least, most = max(low for low, _ in bounds), min(high for _, high in bounds)
    return least if least == most else None


def cut_along(tensor: Sharded) -> int:
    """Return the dimension that a tensor may go on along."""
    return next(iter(_cut(tensor)), 0)


def _ends(tensor: Sharded) -> bool:
    """Return True if a tensor's boxes show its end.

    Along every dimension that it can be cut along.
    """
    if not tensor.shape:
        return True
    if len(_distinct(tensor)) == 1:
        return False  # whole, or the first box of many
    return all(_ends_along(tensor, axis) for axis in _cut(tensor))


def _ends_along(tensor: Sharded, axis: int) -> bool:
    if any(box.offsets[axis] == tensor.shape[axis] for box in tensor.boxes):
        return True  # an empty box, of a rank behind the end
    spans = sorted({(box.offsets[axis], box.sizes[axis]) for box in tensor.boxes})
    return spans[-1][1] < spans[0][1]


def _cut(tensor: Sharded) -> list[int]:
    """Return the dimensions along which a tensor is cut."""
    return [axis for axis in range(len(tensor.shape)) if any(box.offsets[axis] for box in tensor.boxes)]


def _distinct(tensor: Sharded) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    return {(box.offsets, box.sizes) for box in tensor.boxes}


def _ranks_that_fit(tensor: Sharded) -> tuple[int, float] | None:
    """Return the least and greatest fitting number of ranks.

    A tensor whose end is known is cut so among these; the result is None for any other.
    """
    cut = _cut(tensor)
    if len(cut) != 1 or not _ends(tensor):
        return None
    rows, each = tensor.shape[cut[0]], max(box.sizes[cut[0]] for box in tensor.boxes)
    with_rows = -(-rows // each)
    least = with_rows + any(not box.sizes[cut[0]] for box in tensor.boxes)
    return least, -(-rows // (each - 1)) - 1 if each > 1 else inf


def _one_box_a_rank(tensor: Sharded) -> bool:
    """Return True if the ranks have rows in turn.

    The first rank has the first rows, the second the next, and so on: what one row of ranks writes.
    """
    cut = _cut(tensor)
    if not cut:
        return True
    each = max(box.sizes[cut[0]] for box in tensor.boxes)
    return len(cut) == 1 and all(
        box.offsets[cut[0]] == (box.rank - 1) * each for box in tensor.boxes if prod(box.sizes)
    )
