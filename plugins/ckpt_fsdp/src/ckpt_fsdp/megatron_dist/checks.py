"""What is wrong with an open distributed checkpoint of Megatron: all that DCP's own checks find."""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.dcp.checks import check_opened
from ckpt_fsdp.megatron_dist.opening import MegatronCheckpoint


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """What is wrong with DCP's part of it."""
    if isinstance(checkpoint, MegatronCheckpoint):
        yield from check_opened(files, checkpoint.opened, request)
