"""Compares the norms, which every rank has whole."""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.ranks import checks


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield RK009 for tensors that ranks stored differently.

    They are compared from the bytes depth on.
    """
    if checkpoint is not None:
        yield from checks.check(files, checkpoint, request)
