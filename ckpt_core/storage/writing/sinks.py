"""`Sink`: the destination of a plan's bytes.

A plan is carried out the same way on a disk and in a store of objects.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from ckpt_core import knobs
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import AssetBytes, FilePlan, LateBytes, Literal, Section, TensorBytes, TensorKey, Written
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.writing.jobs import Job


class Sink(ABC):
    """The files of one plan while they are written.

    Any thread may call `write` and `note`.
    """

    @abstractmethod
    def opened(self, ranks: Ranks) -> AbstractContextManager[None]:
        """Make the files ready for a block, at every rank.

        What was noted is kept, also where the block fails.
        """

    @abstractmethod
    def finished(self, jobs: Sequence[Job]) -> dict[TensorKey, Written]:
        """Return what earlier runs of this work had finished.

        Whatever their ranks; asked once, in the block.
        """

    @abstractmethod
    def write(self, path: str, data: memoryview | bytes, offset: int) -> None:
        """Write bytes of a tensor at their place in a file.

        `data` is the caller's again afterwards.
        """

    @abstractmethod
    def note(self, job: Job, written: Written) -> None:
        """All bytes of a tensor were given."""

    @abstractmethod
    def settle(self, mine: Sequence[Job]) -> None:
        """All tensors of this rank were given."""

    @abstractmethod
    def complete(self, checkpoint: Checkpoint, jobs: Sequence[Job], done: Mapping[TensorKey, Written]) -> None:
        """Write the sections that are no tensors.

        Once every rank has given its own; all of it is made to last.
        """


def sections_at(file: FilePlan) -> Iterator[tuple[int, Section]]:
    """The sections of a file, each with its offset."""
    offset = 0
    for section in file.sections:
        yield offset, section
        offset += section.length


def late_bytes(file: FilePlan, section: LateBytes, crcs: Mapping[TensorBytes, int]) -> bytes:
    """Return the bytes of a section that depends on checksums.

    ValueError where they are not as many as was planned.
    """
    data = section.make(crcs)
    if len(data) != section.length:
        raise ValueError(f"{file.path}: {len(data)} late bytes, {section.length} were planned")
    return data


def rest_of(file: FilePlan, checkpoint: Checkpoint, crcs: Mapping[TensorBytes, int]) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of a file that are of no tensor.

    They come in order, each run of them with its offset; those of assets come in slabs.
    """
    for offset, section in sections_at(file):
        if isinstance(section, Literal):
            yield offset, section.data
        elif isinstance(section, LateBytes):
            yield offset, late_bytes(file, section, crcs)
        elif isinstance(section, AssetBytes):
            for at, data in asset_slabs(checkpoint, section):
                yield offset + at, data


def asset_slabs(checkpoint: Checkpoint, section: AssetBytes) -> Iterator[tuple[int, bytes]]:
    """Yield a carried file's slabs, each with its offset."""
    slab = knobs.slab_bytes()
    for at in range(0, section.length, slab):
        yield at, checkpoint.asset_files().read(section.path, at, min(slab, section.length - at))
