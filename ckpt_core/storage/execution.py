"""A write plan carried out: every section at its place, tensors by several workers, digests in the same pass.

Memory: the slabs of each worker (one as read, one as written), whatever the size of the checkpoint.
"""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from ckpt_core import knobs
from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.plans import AssetBytes, FilePlan, LateBytes, Literal, TensorBytes, TensorKey, WritePlan, Written
from ckpt_core.schema.progress import Progress
from ckpt_core.schema.tensors import TensorEntry
from ckpt_core.schema.text import printable
from ckpt_core.storage import syscalls
from ckpt_core.storage.digests import BLOCK, TensorDigest, of_small_tensor
from ckpt_core.storage.journal import Journal
from ckpt_core.storage.workers import run, stretches


@dataclass(frozen=True, slots=True)
class _Job:
    path: str
    offset: int
    section: TensorBytes
    checksum: bool


def execute(
    plan: WritePlan,
    checkpoint: Checkpoint,
    root: str,
    *,
    journal: str | None = None,
    progress: Progress | None = None,
) -> dict[TensorKey, Written]:
    """Write every file of a plan below `root`, synced.

    Args:
        plan: The files.
        checkpoint: What the tensors are read from.
        root: An existing folder, empty or begun by an interrupted run of the same plan.
        journal: Path of a journal that was begun, for work that can go on after a stop; None for work that cannot.
        progress: Told of the bytes of tensors that are written.

    Returns:
        What was seen of each tensor.

    Raises:
        BudgetError: The disk is full.
        CkptError: A read or a write failed; nothing is named yet.
    """
    jobs = _jobs(plan, root)
    with _opened(plan, root, resume=journal is not None) as descriptors:
        if journal is None:
            done = _write_tensors(jobs, checkpoint, descriptors, None, progress)
        else:
            # No line of the journal may outlast the name of a file it speaks of.
            syscalls.sync_tree(os.path.dirname(journal))
            with closing(Journal(journal, descriptors)) as book:
                done = _write_tensors(jobs, checkpoint, descriptors, book, progress)
                book.finish()
        for file in plan.files:
            path = os.path.join(root, file.path)
            _write_rest(file, checkpoint, descriptors[path], path, done)
            syscalls.sync(descriptors[path], path)
    return done


@contextmanager
def _opened(plan: WritePlan, root: str, *, resume: bool) -> Iterator[dict[str, int]]:
    """A descriptor of each file of the plan, by its path with the root, its space reserved."""
    descriptors: dict[str, int] = {}
    syscalls.require_space(root, plan.size - _reserved(plan, root))
    try:
        for file in plan.files:
            folder = os.path.dirname(file.path)
            for depth in range(folder.count("/") + 1 if folder else 0):
                syscalls.make_directory(os.path.join(root, *folder.split("/")[: depth + 1]))
            path = os.path.join(root, file.path)
            descriptors[path] = syscalls.reopen(path) if resume else syscalls.create(path)
            syscalls.allocate(descriptors[path], file.size, path)
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _reserved(plan: WritePlan, root: str) -> int:
    """Bytes of disk that an interrupted run has reserved for the files of the plan."""
    paths = [os.path.join(root, file.path) for file in plan.files]
    return sum(os.lstat(path).st_blocks * 512 for path in paths if os.path.lexists(path))


def _write_tensors(
    jobs: Sequence[_Job],
    checkpoint: Checkpoint,
    descriptors: Mapping[str, int],
    book: Journal | None,
    progress: Progress | None,
) -> dict[TensorKey, Written]:
    done: dict[TensorKey, Written] = dict(book.finished) if book is not None else {}
    jobs = [job for job in jobs if job.section.key not in done]
    if progress is not None:
        progress.begin(sum(job.section.length for job in jobs))

    def work(share: Sequence[_Job]) -> None:
        for job in share:
            written = _write_tensor(job, checkpoint, descriptors[job.path])
            done[job.section.key] = written
            if progress is not None:
                progress.advance(job.section.length)
            if book is not None:
                book.add(job.section.key, written, job.section.length)

    run(work, stretches(jobs, [job.section.length for job in jobs]))
    return done


def _jobs(plan: WritePlan, root: str) -> list[_Job]:
    """The tensors of a plan. ValueError where it has one at two places: a journal could not tell them apart."""
    jobs: dict[TensorKey, _Job] = {}
    for file in plan.files:
        offset = 0
        for section in file.sections:
            if isinstance(section, TensorBytes):
                if section.key in jobs:
                    raise ValueError(f"{file.path}: tensor {printable(section.name)} is planned twice")
                jobs[section.key] = _Job(os.path.join(root, file.path), offset, section, file.checksums)
            offset += section.length
    return list(jobs.values())


def _write_tensor(job: _Job, checkpoint: Checkpoint, descriptor: int) -> Written:
    component, name = job.section.key
    entry = checkpoint.manifest.component(component).tensors[name]
    origin = checkpoint.origin(component, name)
    if max(origin.nbytes, entry.nbytes) <= BLOCK:
        return _write_small(job, checkpoint, descriptor, origin, entry)
    source = TensorDigest(origin.dtype, origin.shape)
    target = source if _is_copy(origin, entry) else TensorDigest(entry.dtype, entry.shape)
    offset, crc = job.offset, 0
    for read, written in checkpoint.stream(component, name):
        source.update(read)
        if target is not source:
            target.update(written)
        if job.checksum:
            crc = zlib.crc32(written, crc)
        syscalls.write_at(descriptor, written, offset, job.path)
        offset += len(written)
    if offset - job.offset != job.section.length:
        raise _wrong_length(job, offset - job.offset)
    digest = source.hexdigest()
    return Written(digest, digest if target is source else target.hexdigest(), crc)


def _write_small(
    job: _Job, checkpoint: Checkpoint, descriptor: int, origin: TensorEntry, entry: TensorEntry
) -> Written:
    """A tensor of at most one block, without what a longer one needs to be digested in pieces."""
    pieces = [(bytes(read), bytes(written)) for read, written in checkpoint.stream(*job.section.key)]
    read, written = (b"".join(side) for side in zip(*pieces, strict=True)) if pieces else (b"", b"")
    if len(written) != job.section.length:
        raise _wrong_length(job, len(written))
    if written:
        syscalls.write_at(descriptor, written, job.offset, job.path)
    source = of_small_tensor(origin.dtype, origin.shape, read)
    target = source if _is_copy(origin, entry) else of_small_tensor(entry.dtype, entry.shape, written)
    return Written(source, target, zlib.crc32(written) if job.checksum else 0)


def _is_copy(origin: TensorEntry, entry: TensorEntry) -> bool:
    """Whether what is written is what was read: neither cast nor rearranged, which changes the shape."""
    return origin.dtype is entry.dtype and origin.shape == entry.shape


def _wrong_length(job: _Job, given: int) -> CorruptError:
    name = printable(job.section.name)
    return CorruptError(f"{name}: gave {given} bytes, {job.section.length} were planned")


def _write_rest(
    file: FilePlan, checkpoint: Checkpoint, descriptor: int, path: str, done: Mapping[TensorKey, Written]
) -> None:
    """The sections that are no tensors: small ones, and files carried over."""
    crcs = {section.key: done[section.key].crc for section in file.sections if isinstance(section, TensorBytes)}
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
