"""One pass over every byte of a checkpoint, by several workers, each over a contiguous stretch of it.

Memory: two slabs a worker, whatever the size of the checkpoint.
"""

from collections.abc import Iterator, Sequence, Set

from ckpt_core.errors import CkptError
from ckpt_core.reading.checkpoints import StoredCheckpoint, read_slabs
from ckpt_core.schema.findings import Finding
from ckpt_core.storage.workers import run, stretches

Job = tuple[str, str, int]
"""Label of a component, name of a tensor in it, its bytes."""


def sweep(checkpoint: StoredCheckpoint, *, values: bool, leave_out: Set[str | None] = frozenset()) -> Iterator[Finding]:
    """What reading every tensor shows: a read that fails, and with `values` what `findings_of_values` says."""
    checkpoint.settle()
    jobs = [job for job in tensor_jobs(checkpoint) if job[1] not in leave_out]
    shares = stretches(jobs, [job[2] for job in jobs])
    for findings in run(lambda share: list(_sweep_share(checkpoint, share, values)), shares):
        yield from findings


def tensor_jobs(checkpoint: StoredCheckpoint) -> list[Job]:
    """Every tensor with bytes of its own, in the order in which they lie in the files; aliases are left out."""
    found = []
    for component in checkpoint.manifest.components:
        for name, outline in component.tensors.outlines():
            if outline.alias_of is None:
                found.append((outline.path or "", outline.offset, (component.label, name, outline.nbytes)))
    found.sort()
    return [job for _, _, job in found]


def _sweep_share(checkpoint: StoredCheckpoint, jobs: Sequence[Job], values: bool) -> Iterator[Finding]:
    for label, name, _ in jobs:
        try:
            yield from _sweep_tensor(checkpoint, label, name, values)
        except CkptError as error:
            finding = Finding.of_error(error)
            yield Finding(finding.code, finding.severity, finding.message, finding.path, name, finding.hint)


def _sweep_tensor(checkpoint: StoredCheckpoint, label: str, name: str, values: bool) -> Iterator[Finding]:
    entry = checkpoint.component(label).tensors[name]
    path = entry.chunks[0].stored.path if entry.chunks and entry.chunks[0].stored else None
    counts = None
    if values:
        from ckpt_core.reading.values import NonFinite

        counts = NonFinite(entry.dtype)
    for data in read_slabs(checkpoint, label, name, entry):
        if counts is not None:
            counts.update(data)
    if counts is not None:
        from ckpt_core.reading.value_findings import findings_of_values

        yield from findings_of_values(checkpoint.component(label).kind, name, entry, path, counts)
