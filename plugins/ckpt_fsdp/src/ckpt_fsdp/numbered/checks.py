"""Reports numbered shards that kept a checkpoint from opening."""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.numbered.detection import find
from ckpt_fsdp.numbered.opening import open_shards


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield what is wrong with each shard.

    It speaks only where the checkpoint did not open.
    """
    if checkpoint is None and any(match.root == "" for match in find(files)):
        yield from open_shards(files)[0].findings
