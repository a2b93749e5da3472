"""The tensors of a write plan as work.

Each has every place that the plan has it at.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import FilePlan, TensorBytes, TensorKey, WritePlan, Written
from ckpt_core.schema.tensors import stretch_of
from ckpt_core.schema.text import printable


class Destination(NamedTuple):
    """The destination of a stretch of a tensor.

    Its bytes from `start` to `stop` go to `offset` of a file of the plan.
    """

    path: str
    offset: int
    start: int
    stop: int
    section: TensorBytes
    checksum: bool


class Job(NamedTuple):
    """A tensor to be written.

    `nbytes` long, to all of its places, in the plan's order.
    """

    key: TensorKey
    nbytes: int
    places: tuple[Destination, ...]


def jobs_of(plan: WritePlan, checkpoint: Checkpoint) -> list[Job]:
    """Return the tensors of a plan, by their first place.

    Args:
        plan: The files.
        checkpoint: What the tensors are read from.

    Raises:
        ValueError: A box is not one stretch of its tensor's rows, or leaves it.
        CorruptError: A section is not as long as what it is to hold.
    """
    places: dict[TensorKey, list[Destination]] = {}
    for file in plan.files:
        offset = 0
        for section in file.sections:
            if isinstance(section, TensorBytes):
                start, stop = (0, section.length) if section.box is None else _stretch(file, section, checkpoint)
                place = Destination(file.path, offset, start, stop, section, file.checksums)
                places.setdefault((section.component, section.name), []).append(place)
            offset += section.length
    return [_job(key, found, checkpoint) for key, found in places.items()]


def spread(job: Job, data: memoryview, at: int) -> Iterator[tuple[int, Destination, memoryview, int]]:
    """Yield where each of a tensor's bytes from `at` on goes.

    Number of the place, the place, bytes, offset in it.
    """
    for index, place in enumerate(job.places):
        first, last = max(place.start - at, 0), min(place.stop - at, len(data))
        if first < last:
            yield index, place, data[first:last], place.offset + at + first - place.start


def checksums(jobs: Sequence[Job], done: Mapping[TensorKey, Written]) -> dict[str, dict[TensorBytes, int]]:
    """Return the CRC-32 of every section that needs one.

    They are given by the path of their file.
    """
    found: dict[str, dict[TensorBytes, int]] = {}
    for job in jobs:
        for place, crc in zip(job.places, done[job.key].crcs, strict=True):
            if place.checksum:
                found.setdefault(place.path, {})[place.section] = crc
    return found


def as_lines(seen: Mapping[TensorKey, Written]) -> list[Any]:
    """Return the records of tensors, as JSON can carry them."""
    return [[*key, *written.plain()] for key, written in seen.items()]


def of_lines(lines: Sequence[Any]) -> dict[TensorKey, Written]:
    """Return the records that `as_lines` made the lines of."""
    return {(component, name): Written.of(seen) for component, name, *seen in lines}


def _stretch(file: FilePlan, section: TensorBytes, checkpoint: Checkpoint) -> tuple[int, int]:
    """The bytes of its tensor that a box is."""
    assert section.box is not None
    info = checkpoint.manifest.component(section.component).tensors.info(section.name)
    leaves = any(o < 0 or o + n > size for o, n, size in zip(*section.box, info.shape, strict=True))
    stretch = None if leaves else stretch_of(section.box, info.shape)
    if stretch is None or stretch[0] * info.dtype.bits % 8:
        raise ValueError(f"{file.path}: the box {section.box} of {printable(section.name)} is no stretch of its rows")
    start, length = info.dtype.nbytes(stretch[0]), info.dtype.nbytes(stretch[1])
    if length != section.length:
        raise CorruptError(f"{printable(section.name)}: a box of it has {length} bytes, {section.length} were planned")
    return start, start + length


def _job(key: TensorKey, places: list[Destination], checkpoint: Checkpoint) -> Job:
    if len(places) == 1 and places[0].section.box is None:
        return Job(key, places[0].stop, tuple(places))
    nbytes = checkpoint.manifest.component(key[0]).tensors.info(key[1]).nbytes
    for place in places:
        if place.section.box is None and place.stop != nbytes:
            raise CorruptError(f"{printable(key[1])}: has {nbytes} bytes, {place.stop} were planned")
    return Job(key, nbytes, tuple(places))
