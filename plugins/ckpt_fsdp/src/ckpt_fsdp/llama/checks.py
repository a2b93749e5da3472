"""What every rank has whole, the norms: whether the copies are the same."""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.ranks import checks


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """RK009 for each tensor of which two ranks stored different elements; from the bytes depth on."""
    if checkpoint is not None:
        yield from checks.check(files, checkpoint, request)
