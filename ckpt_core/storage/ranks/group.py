"""Ranks in process groups of torch.distributed.

A program has put them there already: those of its model's mesh, or all.
"""

from collections.abc import Sequence
from typing import Any

from ckpt_core.errors import UnreachableError
from ckpt_core.storage.ranks.ranks import Ranks


class GroupRanks(Ranks):
    """One of the ranks of a process group.

    The group may be a mesh of several dimensions.

    A rank that is gone or silent is noticed by the groups' backend, within their own time limit.

    Args:
        groups: The groups of this rank, one a dimension of the mesh, the innermost first.
    """

    def __init__(self, groups: Sequence[Any]) -> None:
        import torch.distributed as dist

        self._groups = tuple(groups)
        self.rank, self.world = 0, 1
        for group in self._groups:
            self.rank += self.world * dist.get_rank(group)
            self.world *= dist.get_world_size(group)

    @property
    def groups(self) -> tuple[Any, ...]:
        """The groups that lead to every rank, one after the other."""
        return self._groups

    def exchange(self, value: Any) -> list[Any]:
        found = [value]
        for group in self._groups:
            found = [one for part in _gathered(found, group) for one in part]
        return found


def _gathered(value: list[Any], group: Any) -> list[list[Any]]:
    import torch.distributed as dist

    every: list[Any] = [None] * dist.get_world_size(group)
    try:
        dist.all_gather_object(every, value, group=group)
    except RuntimeError as error:
        raise gone(error) from error
    return every


def gone(error: RuntimeError) -> UnreachableError:
    """Return the error for a rank that the others await in vain."""
    reason = str(error).partition("\n")[0].strip()
    return UnreachableError(f"another rank is gone or silent ({reason}); start all of them again")
