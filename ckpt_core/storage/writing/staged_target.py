"""`StagedTarget`: the needs of verbs of any destination.

The destination is on a disk, in memory, or in a store of objects.
"""

from abc import abstractmethod
from collections.abc import Mapping

from ckpt_core.schema.access import Files, Progress, Target
from ckpt_core.schema.plans import TensorKey, WritePlan, Written
from ckpt_core.schema.side_files.seals import FileSeal, Seal


class StagedTarget(Target):
    """A destination whose content is staged.

    It is read back there, and named in one step.

    Attributes:
        written: What was seen of each tensor by `write`.
        planned: The plan that `write` carried out; None before.
        digested: The digests of every file, where they were taken while it was written; None where it has to be read.
        work: The digest of plan and source, by which a rerun knows that it was done; empty where it cannot know.
    """

    written: dict[TensorKey, Written]
    planned: WritePlan | None
    digested: Mapping[str, FileSeal] | None = None
    work: str

    @property
    @abstractmethod
    def staged(self) -> str:
        """Return the path or URL of what is staged.

        The file or directory that will have the destination's name.
        """

    @abstractmethod
    def listing(self) -> Files:
        """Return the staged files as a reader will find them.

        They have the destination's name there.
        """

    @abstractmethod
    def watch(self, progress: Progress) -> None:
        """Tell `progress` of the bytes that `write` writes."""

    @abstractmethod
    def commit(self, seal: Seal | None) -> None:
        """Write the seal, if any, and give what is staged its name.

        Nothing is to be seen there before.
        """

    @abstractmethod
    def drop(self, *, entirely: bool = False) -> None:
        """Remove the stage.

        It stays where work can go on from it, unless `entirely`, and once it has its name.
        """
