"""A place to write a checkpoint to, and who follows the progress."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ckpt_core.schema.access.checkpoints import Checkpoint
from ckpt_core.schema.locations import Location
from ckpt_core.schema.manifests import Manifest

if TYPE_CHECKING:
    from ckpt_core.schema.plans import WritePlan


class Target(ABC):
    """A staged place to write a checkpoint to, in a format.

    Attributes:
        location: The destination.
        format: Name of the format.
        options: The format's own options, as it declares them.
    """

    location: Location
    format: str
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The last part of the destination.

        A format that consists of one file gives it this name.
        """
        return self.location.name

    @abstractmethod
    def write(self, plan: "WritePlan", checkpoint: Checkpoint) -> Manifest:
        """Write a plan to the stage, reading the checkpoint's tensors.

        The destination gets its name only at the commit.
        """


class Progress(Protocol):
    """A caller's object that is told about progress.

    Any thread may call `advance`.
    """

    def begin(self, total: int) -> None:
        """Announce about how many bytes will be read."""

    def advance(self, nbytes: int) -> None:
        """Report how many more bytes were read."""
