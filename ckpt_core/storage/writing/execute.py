"""A write plan carried out.

Every section is put at its place, tensors by several workers and ranks, digests in the same pass.

A tensor is read once, in order, whatever number of places it goes to: each slab is written wherever the plan has it.
Memory: the slabs of each worker (one as read, one as written), whatever the size of the checkpoint, and what the sink
holds of them.
"""

from collections.abc import Sequence

from ckpt_core.errors import CorruptError
from ckpt_core.schema.access import Checkpoint, Progress
from ckpt_core.schema.plans import TensorKey, WritePlan, Written
from ckpt_core.schema.tensors import TensorEntry
from ckpt_core.schema.text import printable
from ckpt_core.storage.crc import crc32
from ckpt_core.storage.digests import BLOCK, TensorDigest, of_small_tensor
from ckpt_core.storage.ranks.ranks import ALONE, Ranks
from ckpt_core.storage.workers import run, stretches
from ckpt_core.storage.writing.jobs import Job, as_lines, jobs_of, of_lines, spread
from ckpt_core.storage.writing.sinks import Sink
from ckpt_core.storage.writing.small_tensors import Neighbours, Told


def execute(
    plan: WritePlan,
    checkpoint: Checkpoint,
    sink: Sink,
    *,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> dict[TensorKey, Written]:
    """Write every file of a plan.

    Args:
        plan: The files.
        checkpoint: What the tensors are read from.
        sink: Where the bytes go.
        progress: Told of the bytes of tensors that are written.
        ranks: The processes that share the work, all of which call this: each writes tensors of its own, rank 0 the
            rest.

    Returns:
        What was seen of each tensor, by whichever rank.

    Raises:
        BudgetError: The disk is full.
        CkptError: A read or a write failed, here or at another rank; nothing is named yet.
    """
    jobs = jobs_of(plan, checkpoint)
    with sink.opened(ranks):
        done = sink.finished(jobs)
        left = [job for job in jobs if job.key not in done]
        mine = ranks.share(left, [job.nbytes for job in left])
        _prove_again([job for job in jobs if job.key in done], checkpoint, ranks)
        done.update(_write_tensors(mine, checkpoint, sink, progress, ranks))
        sink.settle(mine)
        if ranks.world > 1:
            _gather(mine, done, ranks)
        sink.complete(checkpoint, jobs, done)
        ranks.exchange(None)
    return done


def _write_tensors(
    jobs: Sequence[Job], checkpoint: Checkpoint, sink: Sink, progress: Progress | None, ranks: Ranks
) -> dict[TensorKey, Written]:
    done: dict[TensorKey, Written] = {}
    if progress is not None:
        progress.begin(sum(job.nbytes for job in jobs))

    def told(job: Job, written: Written) -> None:
        done[job.key] = written
        if progress is not None:
            progress.advance(job.nbytes)
        sink.note(job, written)

    def work(share: Sequence[Job]) -> None:
        neighbours = Neighbours(sink.write, told)
        for job in share:
            ranks.check()
            _write_tensor(job, checkpoint, sink, ranks, neighbours, told)
        neighbours.write()

    run(work, stretches(jobs, [job.nbytes for job in jobs]))
    return done


def _prove_again(jobs: Sequence[Job], checkpoint: Checkpoint, ranks: Ranks) -> None:
    """Compare the checksums of what an earlier run has read.

    It was stopped before they were known to hold.
    """
    for job in ranks.share(jobs, [job.nbytes for job in jobs]):
        checkpoint.prove(*job.key)


def _gather(mine: Sequence[Job], done: dict[TensorKey, Written], ranks: Ranks) -> None:
    """Let every rank know what each of them has seen."""
    for lines in ranks.exchange(as_lines({job.key: done[job.key] for job in mine})):
        done.update(of_lines(lines))


def _write_tensor(
    job: Job, checkpoint: Checkpoint, sink: Sink, ranks: Ranks, neighbours: Neighbours, told: Told
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
        _put(job, written, at, crcs, sink)
        at += len(written)
    if at != job.nbytes:
        raise _wrong_length(job, at)
    digest = source.hexdigest()
    told(job, Written(digest, digest if target is source else target.hexdigest(), tuple(crcs)))


def _write_small(
    job: Job, checkpoint: Checkpoint, origin: TensorEntry, entry: TensorEntry, neighbours: Neighbours
) -> None:
    """Write a tensor of at most one block at one place.

    It does without what a longer one needs to be digested in pieces.
    """
    pieces = [(bytes(read), bytes(written)) for read, written in checkpoint.stream(*job.key)]
    read, written = b"".join(read for read, _ in pieces), b"".join(written for _, written in pieces)
    if len(written) != job.nbytes:
        raise _wrong_length(job, len(written))
    crc = crc32(written) if job.places[0].checksum else 0
    source = of_small_tensor(origin.dtype, origin.shape, read)
    target = source if _is_copy(origin, entry) else of_small_tensor(entry.dtype, entry.shape, written)
    neighbours.add(job, written, Written(source, target, (crc,)))


def _is_copy(origin: TensorEntry, entry: TensorEntry) -> bool:
    """Return whether a tensor is written as it is read.

    Neither cast nor rearranged, which changes the shape.
    """
    return origin.dtype is entry.dtype and origin.shape == entry.shape


def _put(job: Job, data: memoryview, at: int, crcs: list[int], sink: Sink) -> None:
    """Write the given bytes to each of their places.

    They start at `at` in the tensor.
    """
    for index, place, part, offset in spread(job, data, at):
        if place.checksum:
            crcs[index] = crc32(part, crcs[index])
        sink.write(place.path, part, offset)


def _wrong_length(job: Job, given: int) -> CorruptError:
    return CorruptError(f"{printable(job.key[1])}: gave {given} bytes, {job.nbytes} were planned")
