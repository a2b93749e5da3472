"""What is wrong with an open directory of Lightning: of its own it has nothing to check, of DCP's everything."""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.dcp.checks import check_opened
from ckpt_fsdp.lightning.opening import LightningCheckpoint


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """What is wrong with DCP's part of it."""
    if isinstance(checkpoint, LightningCheckpoint):
        yield from check_opened(files, checkpoint.opened, request)
