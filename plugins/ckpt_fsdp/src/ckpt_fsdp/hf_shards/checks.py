"""Reports shards of DCP's safetensors layout that don't open.

They kept the checkpoint from being opened.
"""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.hf_shards.detection import find
from ckpt_fsdp.hf_shards.opening import open_shards


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield every broken shard of a checkpoint that didn't open."""
    if checkpoint is None and any(match.root == "" for match in find(files)):
        yield from map(Finding.of_error, open_shards(files).errors)
