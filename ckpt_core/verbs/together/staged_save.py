"""A save whose ranks have a way of their own to meet.

Rank 0 stages and commits. All that ranks tell each other is carried by whoever calls.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.codecs.gc_pause import without_collection
from ckpt_core.errors import OverwriteError
from ckpt_core.layouts.in_memory import LiveCheckpoint, checkpoint_of_parts
from ckpt_core.layouts.joined import pieces_of
from ckpt_core.manager.plugin_manager import get_plugin_manager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.read_back import ReadBack
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.plans import FilePlan, TensorKey, WritePlan
from ckpt_core.schema.side_files.seals import FileSeal, Seal
from ckpt_core.schema.tensors import Box
from ckpt_core.schema.text import redact
from ckpt_core.storage.ranks.pieces import PiecedCheckpoint
from ckpt_core.storage.ranks.ranks import ALONE
from ckpt_core.storage.remote.options import storage_options
from ckpt_core.storage.writing.by_ranks.write import write_by_ranks
from ckpt_core.storage.writing.by_tickets.tickets import Ticket, ticket_of
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.storage.writing.targets import open_target, refuse_apart
from ckpt_core.storage.writing.uploads.own_files import OwnUploads
from ckpt_core.storage.writing.uploads.target import ObjectTarget
from ckpt_core.verbs.reference import Destination, writable_of
from ckpt_core.verbs.save import SaveReport, reopen, report_of
from ckpt_core.verbs.saving.by_ranks import prove_coverage, prove_sizes
from ckpt_core.version import __version__

SHARE = "model"
"""The component by which the sections of a share name their tensors."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The record of what a rank wrote.

    Attributes:
        files: The digests of each of its files, taken of what was written.
        tensors: The digest of each of its tensors, by the name that its sections have for it.
        versions: Of its objects, by path; empty on a disk.
    """

    files: Mapping[str, FileSeal] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


Proof = Callable[[StoredCheckpoint], Mapping[TensorKey, str]]
"""Compares what is staged with what was to be written, and returns the digests of the tensors that it knows."""


class StagedSave:
    """A directory that is being saved, as rank 0 has it.

    Args:
        ref: A path, or a URL; nothing may be there.
        format: Name of the format.
        paths: Every file that anybody may write, relative to the directory.
        world: How many ranks write.
        options: For the clients of stores; None for what their configuration says.

    Attributes:
        ticket: Where the others write; a pickle can carry it.

    Raises:
        OverwriteError: Something is there.
        LockedError: Another process is writing there.
        UnsupportedFormatError: Nothing can be written to such a URL, or not by several ranks.
        CkptError: The place cannot be written to.
    """

    ticket: Ticket

    def __init__(
        self,
        ref: Destination,
        *,
        format: str,
        paths: Sequence[str],
        world: int = 1,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        place = writable_of(ref)
        self._options, self._world = options, world
        self._held = ExitStack()
        with storage_options(options), _replacing_nothing(place):
            refuse_apart(place, world)
            opened = open_target(place, format=format, kind=LocationKind.DIRECTORY)
            self._target: StagedTarget = self._held.enter_context(opened)
            with ExitStack() as failed:
                failed.callback(self.close)
                self.ticket = ticket_of(self._target, place, paths)
                failed.pop_all()

    def commit(
        self,
        last: FilePlan,
        receipts: Sequence[Receipt],
        prove: Proof,
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> SaveReport:
        """Write the last file, prove the whole, seal it and name it.

        Args:
            last: The file that makes a checkpoint of the others: bytes that are known.
            receipts: Of every rank.
            prove: Called with the staged files, opened by the reader of the format.
            provenance: Plain values to record in the seal.

        Raises:
            CorruptError: A file is not as it was written, or boxes do not make whole tensors; nothing was committed.
            CkptError: It could not be written or named.
        """
        with storage_options(self._options), without_collection():
            every = [*receipts, _written(self.ticket, [last], _nothing(), self._world)]
            files = {path: seal for one in every for path, seal in one.files.items()}
            if isinstance(self._target, ObjectTarget):
                self._target.was_put({path: version for one in every for path, version in one.versions.items()})
            staged = reopen(get_plugin_manager(), self._target)
            prove_sizes(staged, files)
            found = ReadBack(files, dict(prove(staged)))
            prove_coverage(staged)
            known = {"ckpt_core": __version__, "ranks": self._world, **(provenance or {})}
            seal = Seal(
                format=self._target.format,
                files=found.files,
                tensors=found.by_component(),
                components=found.components(),
                provenance=known,
            )
            with _replacing_nothing(str(self._target.location)):
                self._target.commit(seal)
        return report_of(str(self._target.location), seal, found)

    def close(self) -> None:
        """End: what was not committed is removed."""
        with storage_options(self._options):
            self._held.close()


def write_share(
    ticket: Ticket,
    files: Sequence[FilePlan],
    tensors: Mapping[str, Any],
    *,
    rank: int,
    options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Write the files of one rank, and return the receipt.

    Args:
        ticket: Where; of the `StagedSave` of rank 0.
        files: Its files; sections name the tensors by component `model`.
        tensors: Torch tensors by name, on any device and of any strides.
        rank: Which rank this is.
        options: For the clients of stores.

    Raises:
        UnsupportedFormatError: A tensor has no plain content.
        BudgetError: The disk is full.
        CkptError: A write failed; nothing was committed.
    """
    with storage_options(options), without_collection():
        share = pieces_of(checkpoint_of_parts({SHARE: tensors})) if tensors else _nothing()
        return _written(ticket, files, share, rank)


@contextmanager
def _replacing_nothing(place: str) -> Iterator[None]:
    """Say that such a save replaces nothing."""
    try:
        yield
    except OverwriteError as error:
        raise OverwriteError(
            f"{redact(place)}: something is there, and such a save replaces nothing; choose another place, or remove "
            "it first"
        ) from error


def _written(ticket: Ticket, files: Sequence[FilePlan], share: LiveCheckpoint, rank: int) -> Receipt:
    if not files:
        return Receipt()
    made: list[Any] = []

    def files_of(own: WritePlan) -> Any:
        made.append(ticket.files(own, rank))
        return made[-1]

    seen = write_by_ranks(WritePlan(tuple(files)), _Share(share), files_of, format="", ranks=ALONE)
    versions = made[-1].versions if isinstance(made[-1], OwnUploads) else {}
    return Receipt(seen.files, {name: one.target for (_, name), one in seen.tensors.items()}, versions)


def _nothing() -> LiveCheckpoint:
    return LiveCheckpoint((), {})


class _Share(PiecedCheckpoint):
    """The share of one rank, all of which it holds."""

    def __init__(self, own: LiveCheckpoint) -> None:
        self.location, self.match, self.manifest = own.location, own.match, own.manifest
        self.own = own

    def owner(self, component: str, name: str, box: Box | None) -> int:
        return ALONE.rank

    def own_name(self, component: str, name: str, box: Box | None) -> str:
        return name

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        return self.own.read(component, name, box=box, out=out)

    def stream(self, component: str, name: str) -> Any:
        return self.own.stream(component, name)
