"""All that is wrong with numbered shards, where that kept them from being opened."""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.numbered.detection import find
from ckpt_fsdp.numbered.opening import open_shards


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """What is wrong with each shard, where the checkpoint did not open for one of them."""
    if checkpoint is None and any(match.root == "" for match in find(files)):
        yield from open_shards(files)[0].findings
