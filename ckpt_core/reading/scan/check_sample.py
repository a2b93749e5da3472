"""Reads a sample of a checkpoint's bytes to check it.

It is chosen so that it speaks for the whole. Every tensor's place is checked before, from headers; here is what only
bytes can tell.
"""

from collections.abc import Generator, Iterator, Sequence, Set
from math import prod

from ckpt_core.errors import CkptError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.scan.sampled import Tally, sampled_walk
from ckpt_core.reading.scan.tensors import SweptTensor, swept_tensors
from ckpt_core.reading.slabs import slabs
from ckpt_core.schema.byte_consumers import Checksum, OnBlock
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.verification import Sampling


def sampled_sweep(
    checkpoint: StoredCheckpoint,
    sampling: Sampling,
    *,
    values: bool,
    leave_out: Set[str | None] = frozenset(),
    whole: Sequence[str] = (),
    on_block: OnBlock | None = None,
) -> Generator[Finding, None, Tally]:
    """Yield what `sweep` finds in a sample.

    CK020 to CK022 say how much was read; returns what was read.

    Args:
        checkpoint: A checkpoint that is confirmed.
        sampling: Which part.
        values: See `sweep`, as for the others.
        leave_out: See `sweep`.
        whole: See `sweep`.
        on_block: See `sweep`.
    """
    tensors = list(swept_tensors(checkpoint, leave_out))
    stretches = [stretch for tensor in tensors for stretch in tensor.stretches(values, checkpoint.progress)]
    sums = [] if checkpoint.checksums is None else list(checkpoint.checksums())
    records = [checksum for checksum in sums if checksum.end > checksum.start]
    apart = [_Boxes(checkpoint, tensor, values) for tensor in tensors if tensor.runs is None]
    tally = sampled_walk(checkpoint.files, stretches, records, sampling, pieces=apart, whole=whole, on_block=on_block)
    yield from map(Finding.of_error, tally.errors)
    yield from _of_sums([checksum for checksum in sums if checksum.end <= checksum.start] + tally.sums)
    for tensor in tensors:
        yield from tensor.findings(sampled=True)
    yield from extent(tally, sampling)
    yield from _uncompared(len(records), len(tally.sums))
    return tally


def _of_sums(sums: Sequence[Checksum]) -> Iterator[Finding]:
    for checksum in sums:
        yield from checksum.findings()


def extent(tally: Tally, sampling: Sampling) -> Iterator[Finding]:
    """Yield CK020 or CK021 for how much was read."""
    read = f"{tally.read} of {tally.pieces} blocks were read, in {len(tally.paths)} of {tally.files} files"
    if tally.read < tally.chosen:
        message = f"the time was used up after {sampling.seconds:g} s: {read}, and {tally.chosen} were to be"
        yield Finding("CK021", Severity.WARNING, message, hint="what was not read was not checked; give it more time")
    elif tally.read < tally.pieces:
        message = f"a sample: {read}; seed {sampling.seed}"
        yield Finding("CK020", Severity.INFO, message, hint="what was not read was not checked")


def _uncompared(records: int, compared: int) -> Iterator[Finding]:
    if compared < records:
        message = f"{records - compared} of {records} checksums were not compared: their records were not read whole"
        yield Finding("CK022", Severity.INFO, message)


class _Boxes:
    """A tensor that is read box by box.

    It has no plain run of bytes.
    """

    def __init__(self, checkpoint: StoredCheckpoint, tensor: SweptTensor, values: bool) -> None:
        self.name = f"{tensor.label}/{tensor.name}"
        first = tensor.entry.chunks[0].stored if tensor.entry.chunks else None
        self.path = self.name if first is None else first.path
        self._checkpoint, self._tensor, self._values = checkpoint, tensor, values
        self._boxes = list(slabs(tensor.entry.shape, tensor.entry.dtype))

    def __len__(self) -> int:
        return len(self._boxes)

    def read_piece(self, number: int) -> None:
        tensor, box = self._tensor, self._boxes[number]
        out = memoryview(bytearray(tensor.entry.dtype.nbytes(prod(box[1]))))
        try:
            self._checkpoint.read(tensor.label, tensor.name, box=box, out=out)
        except CkptError as error:
            tensor.error = error
            return
        if self._values:
            tensor.look_at(out)
