"""The run as every rank but the first has it.

It changes nothing there, and asks nothing of it.
"""

from ckpt_core.training.run import Run


class FollowingRun(Run):
    """A run whose folder rank 0 has.

    Args:
        path: Where it is.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def open(self) -> None:
        """Nothing: rank 0 keeps others out."""

    def close(self) -> None:
        """Nothing, as for `open`."""

    def steps(self) -> list[int]:
        return []

    def is_there(self, step: int) -> bool:
        return False

    def remove(self, step: int) -> None:
        """Nothing: rank 0 removes."""

    def put_aside(self, step: int) -> None:
        """Nothing, as for `remove`."""

    def committed_at(self, step: int) -> float:
        return 0.0
