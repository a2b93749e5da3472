"""What is wrong with the archives of an open DeepSpeed checkpoint; the rest was noticed when it was opened."""

from collections.abc import Iterator

from ckpt_core import BudgetError, Checkpoint, Files, Finding, FormatError, VerifyRequest
from ckpt_fsdp.deepspeed.opening import DeepSpeedCheckpoint


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """The headers of every archive, where core stops at the first that is wrong."""
    if not isinstance(checkpoint, DeepSpeedCheckpoint):
        return
    for file in checkpoint.torches:
        try:
            file.confirm()
        except (FormatError, BudgetError) as error:
            yield Finding.of_error(error)
