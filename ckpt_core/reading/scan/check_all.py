"""Reads every byte of a checkpoint once to check it.

Tensors, the digests of files and their checksums are checked in one walk. Memory: one block of 1 MiB a worker; two
slabs more for tensors whose elements are not one plain run of bytes.
"""

from collections.abc import Iterable, Iterator, Sequence, Set

from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.scan.full import walk
from ckpt_core.reading.scan.tensors import SweptTensor, swept_tensors
from ckpt_core.schema.access import Files
from ckpt_core.schema.byte_consumers import ByteConsumer, OnBlock
from ckpt_core.schema.findings import Finding
from ckpt_core.storage.workers import run, stretches


def sweep(
    checkpoint: StoredCheckpoint,
    *,
    values: bool,
    leave_out: Set[str | None] = frozenset(),
    whole: Sequence[str] = (),
    on_block: OnBlock | None = None,
) -> Iterator[Finding]:
    """Read every tensor and yield what is wrong.

    Reads that fail, checksums that do not match, and with `values` suspicious values.

    Args:
        checkpoint: A checkpoint that is confirmed.
        values: Look at the values of tensors, too.
        leave_out: Names of tensors that cannot be read.
        whole: Files of which `on_block` is to be told every block, in the same pass.
        on_block: See `walk`.
    """
    tensors = list(swept_tensors(checkpoint, leave_out))
    consumers = [consumer for tensor in tensors for consumer in tensor.consumers(values, checkpoint.progress)]
    sums = [] if checkpoint.checksums is None else list(checkpoint.checksums())
    yield from read_all(checkpoint.files, [*consumers, *sums], whole=whole, on_block=on_block)
    for checksum in sums:
        yield from checksum.findings()
    apart = [tensor for tensor in tensors if tensor.runs is None]
    shares = stretches(apart, [tensor.entry.nbytes for tensor in apart])
    run(lambda share: _read_apart(checkpoint, share, values), shares)
    for tensor in tensors:
        yield from tensor.findings()


def _read_apart(checkpoint: StoredCheckpoint, share: Sequence[SweptTensor], values: bool) -> None:
    for tensor in share:
        tensor.read_apart(checkpoint, values)


def read_all(
    files: Files, consumers: Iterable[ByteConsumer], *, whole: Sequence[str], on_block: OnBlock | None
) -> Iterator[Finding]:
    """Walk over the files and yield failed reads.

    A failure that a byte consumer was told of is left out.
    """
    for error in walk(files, consumers, whole=whole, on_block=on_block):
        yield Finding.of_error(error)
