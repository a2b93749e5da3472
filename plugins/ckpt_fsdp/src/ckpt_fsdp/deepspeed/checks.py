"""Checks the archives of an open DeepSpeed checkpoint.

It also compares the weights with the model's config.
"""

from collections.abc import Iterator

from ckpt_core import BudgetError, Checkpoint, Files, Finding, FormatError, VerifyRequest
from ckpt_fsdp.config_checks import hold
from ckpt_fsdp.deepspeed.opening import DeepSpeedCheckpoint


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield findings about archives and the model's config.

    The headers of every archive are read, where core stops at the first that is wrong.
    """
    if not isinstance(checkpoint, DeepSpeedCheckpoint):
        return
    for file in checkpoint.torches:
        try:
            file.confirm()
        except (FormatError, BudgetError) as error:
            yield Finding.of_error(error)
    for component in checkpoint.manifest.components if request.profile is not None else ():
        if component.label == "config" and isinstance(component.state, dict):
            yield from hold(component.state, checkpoint)
