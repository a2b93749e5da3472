"""A save of Accelerate's under FSDP is checked by its model's config here, its parts as what they are."""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.config_checks import check_config


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """What a config beside the models says of them and is not so."""
    if checkpoint is not None and checkpoint.match.format == "fsdp":
        yield from check_config(files, checkpoint, request)
