"""Tickets, by which a rank writes into the stage of rank 0.

The caller has a way to carry them; they are plain data, which a pickle can hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.plans import WritePlan
from ckpt_core.storage.ranks.ranks import ALONE
from ckpt_core.storage.writing.local_files import LocalFiles
from ckpt_core.storage.writing.open_local import number_of, refuse_another_disk
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.storage.writing.uploads.journal import note_begun_by
from ckpt_core.storage.writing.uploads.own_files import OwnUploads
from ckpt_core.storage.writing.uploads.place import place_of
from ckpt_core.storage.writing.uploads.target import ObjectTarget


@dataclass(frozen=True, slots=True)
class DiskTicket:
    """A folder on a filesystem that all ranks share.

    Attributes:
        place: The destination.
        folder: Its path.
        number: The number by which the filesystem knows it.
    """

    place: str
    folder: str
    number: int | None

    def files(self, plan: WritePlan, rank: int) -> LocalFiles:
        """Return the files of a rank's plan, to be written there.

        Raises:
            UsageError: This rank sees another filesystem.
        """
        refuse_another_disk(self.folder, self.number, place=self.place, rank=rank)
        return LocalFiles(plan, self.folder)


@dataclass(frozen=True, slots=True)
class StoreTicket:
    """A folder of a store whose journal was begun.

    Attributes:
        ref: The destination.
        folder: The key of the folder, with a slash behind it.
        number: Of the journal's object in which rank 0 may note its uploads; each rank has the one at its distance.
        began: When the journal was begun, by the store's clock.
    """

    ref: str
    folder: str
    number: int
    began: float

    def files(self, plan: WritePlan, rank: int) -> OwnUploads:
        """Return the objects of a rank's plan, to be put there."""
        paths = [file.path for file in plan.files]
        store = place_of(self.ref, LocationKind.DIRECTORY).store
        noted = note_begun_by(self.folder, paths, number=self.number + rank, began=self.began)
        files = OwnUploads(plan, store, self.folder, noted=noted, resumed=False, check=ALONE.check, told=_noted_there)
        files.among, files.own_paths = ALONE, frozenset(paths)
        return files


Ticket = DiskTicket | StoreTicket


def ticket_of(target: StagedTarget, ref: str, paths: Sequence[str]) -> Ticket:
    """Return the ticket for a target's stage.

    `paths` are all files that anybody may write there.
    """
    if not isinstance(target, ObjectTarget):
        return DiskTicket(ref, target.staged, number_of(target.staged))
    folder = target.begin("", paths)
    return StoreTicket(ref, folder.folder, folder.noted.next_number, folder.noted.began)


def _noted_there(uploads: Mapping[str, str]) -> None:
    """Nothing: this rank's part of the journal has them noted."""
