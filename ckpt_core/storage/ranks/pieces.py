"""A checkpoint in the memory of several ranks.

Each has pieces of the tensors.
"""

from abc import abstractmethod

from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.tensors import Box


class PiecedCheckpoint(Checkpoint):
    """Tensors of which every rank knows all boxes, and holds its own.

    Each chunk of an entry names its owner: the one rank that writes it, of those that hold it.

    Attributes:
        own: What this rank owns: each piece a tensor of its own, whole.
    """

    in_memory = True
    own: Checkpoint

    @abstractmethod
    def owner(self, component: str, name: str, box: Box | None) -> int | None:
        """Return the rank that writes a box.

        None where no rank holds just that.

        The whole tensor is meant where `box` is None.
        """

    @abstractmethod
    def own_name(self, component: str, name: str, box: Box | None) -> str:
        """Return the name in `own` of a box that this rank owns."""
