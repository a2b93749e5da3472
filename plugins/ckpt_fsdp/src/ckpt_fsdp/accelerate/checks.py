"""Checks an FSDP save of Accelerate's by its model's config.

Its parts are checked as what they are.
"""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.config_checks import check_config


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield findings where a config contradicts the models."""
    if checkpoint is not None and checkpoint.match.format == "fsdp":
        yield from check_config(files, checkpoint, request)
