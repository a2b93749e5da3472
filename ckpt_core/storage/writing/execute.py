"""A write plan carried out: every section at its place, tensors by several workers and ranks, digests in the same pass.

A tensor is read once, in order, whatever number of places it goes to: each slab is written wherever the plan has it.
Memory: the slabs of each worker (one as read, one as written), whatever the size of the checkpoint.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any

from ckpt_core import knobs
from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Checkpoint, Files, Progress
from ckpt_core.schema.plans import AssetBytes, FilePlan, LateBytes, Literal, TensorBytes, TensorKey, WritePlan, Written
from ckpt_core.schema.tensors import TensorEntry
from ckpt_core.schema.text import printable
from ckpt_core.storage.crc import crc32
from ckpt_core.storage.digests import BLOCK, TensorDigest, of_small_tensor
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.workers import run, stretches
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.jobs import Job, checksums, jobs_of
from ckpt_core.storage.writing.journal import Journal, finished_by_all
from ckpt_core.storage.writing.small_tensors import Neighbours, Told


def execute(
    plan: WritePlan,
    checkpoint: Checkpoint,
    root: str,
    *,
    journal: str | None = None,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> dict[TensorKey, Written]:
    """Write every file of a plan below `root`, synced.

    Args:
        plan: The files.
        checkpoint: What the tensors are read from.
        root: An existing folder, empty or begun by an interrupted run of the same plan.
        journal: Path of a journal that was begun, for work that can go on after a stop; None for work that cannot.
        progress: Told of the bytes of tensors that are written.
        ranks: The processes that share the work, all of which call this: each writes tensors of its own, rank 0 the
            rest.

    Returns:
        What was seen of each tensor, by whichever rank.

    Raises:
        BudgetError: The disk is full.
        CkptError: A read or a write failed, here or at another rank; nothing is named yet.
    """
    jobs = jobs_of(plan, checkpoint, root)
    with _opened(plan, root, resume=journal is not None, ranks=ranks) as descriptors:
        done = _finished(journal, ranks)
        left = [job for job in jobs if job.key not in done]
        mine = ranks.share(left, [job.nbytes for job in left])
        _prove_again([job for job in jobs if job.key in done], checkpoint, ranks)
        with closing(Journal(journal, descriptors, ranks.rank)) if journal is not None else nullcontext() as book:
            done.update(_write_tensors(mine, checkpoint, descriptors, book, progress, ranks))
        if ranks.world > 1:
            _sync(descriptors, mine)
            _gather(mine, done, ranks)
        if ranks.leads:
            crcs = checksums(jobs, done)
            for file in plan.files:
                path = os.path.join(root, file.path)
                _write_rest(file, checkpoint, descriptors[path], path, crcs.get(path, {}))
                syscalls.sync(descriptors[path], path)
        ranks.exchange(None)
    return done


@contextmanager
def _opened(plan: WritePlan, root: str, *, resume: bool, ranks: Ranks) -> Iterator[dict[str, int]]:
    """A descriptor of each file of the plan, by its path with the root. Rank 0 makes them, their space reserved."""
    descriptors: dict[str, int] = {}
    try:
        if not ranks.leads:
            ranks.exchange(None)
            for file in plan.files:
                path = os.path.join(root, file.path)
                descriptors[path] = syscalls.open_existing(path)
        else:
            syscalls.require_space(root, plan.size - _reserved(plan, root))
            for file in plan.files:
                _make_folders(root, os.path.dirname(file.path))
                path = os.path.join(root, file.path)
                descriptors[path] = syscalls.reopen(path) if resume else syscalls.create(path)
                syscalls.allocate(descriptors[path], file.size, path)
            ranks.exchange(None)
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _make_folders(root: str, folder: str) -> None:
    for depth in range(folder.count("/") + 1 if folder else 0):
        syscalls.make_directory(os.path.join(root, *folder.split("/")[: depth + 1]))


def _reserved(plan: WritePlan, root: str) -> int:
    """Bytes of disk that an interrupted run has reserved for the files of the plan."""
    paths = [os.path.join(root, file.path) for file in plan.files]
    return sum(os.lstat(path).st_blocks * 512 for path in paths if os.path.lexists(path))


def _finished(journal: str | None, ranks: Ranks) -> dict[TensorKey, Written]:
    """What earlier runs had finished. Rank 0 reads it for all, before any of them adds to its journal."""
    if journal is None:
        return {}
    found: dict[TensorKey, Written] = {}
    if ranks.leads:
        # No line of a journal may outlast the name of a file it speaks of.
        syscalls.sync_tree(os.path.dirname(journal))
        found = finished_by_all(journal)
    return found if ranks.world == 1 else _of_lines(ranks.from_leader(_as_lines(found)))


def _write_tensors(
    jobs: Sequence[Job],
    checkpoint: Checkpoint,
    descriptors: Mapping[str, int],
    book: Journal | None,
    progress: Progress | None,
    ranks: Ranks,
) -> dict[TensorKey, Written]:
    done: dict[TensorKey, Written] = {}
    if progress is not None:
        progress.begin(sum(job.nbytes for job in jobs))

    def told(job: Job, written: Written) -> None:
        done[job.key] = written
        if progress is not None:
            progress.advance(job.nbytes)
        if book is not None:
            book.add(job.key, written, job.nbytes)

    def work(share: Sequence[Job]) -> None:
        neighbours = Neighbours(descriptors, told)
        for job in share:
            ranks.check()
            _write_tensor(job, checkpoint, descriptors, ranks, neighbours, told)
        neighbours.write()

    run(work, stretches(jobs, [job.nbytes for job in jobs]))
    if book is not None:
        book.finish()
    return done


def _prove_again(jobs: Sequence[Job], checkpoint: Checkpoint, ranks: Ranks) -> None:
    """What an earlier run has read, and was stopped before its checksums were known to hold."""
    for job in ranks.share(jobs, [job.nbytes for job in jobs]):
        checkpoint.prove(*job.key)


def _gather(mine: Sequence[Job], done: dict[TensorKey, Written], ranks: Ranks) -> None:
    """Let every rank know what each of them has seen."""
    for lines in ranks.exchange(_as_lines({job.key: done[job.key] for job in mine})):
        done.update(_of_lines(lines))


def _as_lines(seen: Mapping[TensorKey, Written]) -> list[Any]:
    return [[*key, *written.plain()] for key, written in seen.items()]


def _of_lines(lines: list[Any]) -> dict[TensorKey, Written]:
    return {(component, name): Written.of(seen) for component, name, *seen in lines}


def _sync(descriptors: Mapping[str, int], jobs: Sequence[Job]) -> None:
    """Put on disk what this process wrote: on another machine, rank 0's own sync does not."""
    for path in {place.path for job in jobs for place in job.places}:
        syscalls.sync(descriptors[path], path)


def _write_tensor(
    job: Job,
    checkpoint: Checkpoint,
    descriptors: Mapping[str, int],
    ranks: Ranks,
    neighbours: Neighbours,
    told: Told,
) -> None:
    component, name = job.key
    entry = checkpoint.manifest.component(component).tensors[name]
    origin = checkpoint.origin(component, name)
    if job.nbytes <= BLOCK and origin.nbytes <= BLOCK and len(job.places) == 1 and job.places[0].section.box is None:
        _write_small(job, checkpoint, origin, entry, neighbours)
        return
    source = TensorDigest(origin.dtype, origin.shape)
    target = source if _is_copy(origin, entry) else TensorDigest(entry.dtype, entry.shape)
    at, crcs = 0, [0] * len(job.places)
    for read, written in checkpoint.stream(component, name):
        ranks.check()
        source.update(read)
        if target is not source:
            target.update(written)
        _put(job, written, at, crcs, descriptors)
        at += len(written)
    if at != job.nbytes:
        raise _wrong_length(job, at)
    digest = source.hexdigest()
    told(job, Written(digest, digest if target is source else target.hexdigest(), tuple(crcs)))


def _write_small(
    job: Job, checkpoint: Checkpoint, origin: TensorEntry, entry: TensorEntry, neighbours: Neighbours
) -> None:
    """A tensor of at most one block at one place, without what a longer one needs to be digested in pieces."""
    pieces = [(bytes(read), bytes(written)) for read, written in checkpoint.stream(*job.key)]
    read, written = b"".join(read for read, _ in pieces), b"".join(written for _, written in pieces)
    if len(written) != job.nbytes:
        raise _wrong_length(job, len(written))
    crc = crc32(written) if job.places[0].checksum else 0
    source = of_small_tensor(origin.dtype, origin.shape, read)
    target = source if _is_copy(origin, entry) else of_small_tensor(entry.dtype, entry.shape, written)
    neighbours.add(job, written, Written(source, target, (crc,)))


def _is_copy(origin: TensorEntry, entry: TensorEntry) -> bool:
    """Whether what is written is what was read: neither cast nor rearranged, which changes the shape."""
    return origin.dtype is entry.dtype and origin.shape == entry.shape


def _put(job: Job, data: memoryview, at: int, crcs: list[int], descriptors: Mapping[str, int]) -> None:
    """Write what of the bytes that start at `at` in the tensor goes to each place of it."""
    for index, place in enumerate(job.places):
        first, last = max(place.start - at, 0), min(place.stop - at, len(data))
        if first < last:
            part = data[first:last]
            if place.checksum:
                crcs[index] = crc32(part, crcs[index])
            syscalls.write_at(descriptors[place.path], part, place.offset + at + first - place.start, place.path)


def _wrong_length(job: Job, given: int) -> CorruptError:
    return CorruptError(f"{printable(job.key[1])}: gave {given} bytes, {job.nbytes} were planned")


def _write_rest(
    file: FilePlan, checkpoint: Checkpoint, descriptor: int, path: str, crcs: Mapping[TensorBytes, int]
) -> None:
    """The sections that are no tensors: small ones, and files carried over."""
    offset = 0
    for section in file.sections:
        if isinstance(section, Literal):
            syscalls.write_at(descriptor, section.data, offset, path)
        elif isinstance(section, LateBytes):
            data = section.make(crcs)
            if len(data) != section.length:
                raise ValueError(f"{file.path}: {len(data)} late bytes, {section.length} were planned")
            syscalls.write_at(descriptor, data, offset, path)
        elif isinstance(section, AssetBytes):
            _copy_asset(checkpoint.asset_files(), section, descriptor, offset, path)
        offset += section.length


def _copy_asset(files: Files, section: AssetBytes, descriptor: int, offset: int, path: str) -> None:
    slab = knobs.slab_bytes()
    for at in range(0, section.length, slab):
        syscalls.write_at(descriptor, files.read(section.path, at, min(slab, section.length - at)), offset + at, path)
