"""Reports shards that kept a checkpoint from being opened.

Of DCP's safetensors layout.
"""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, VerifyRequest
from ckpt_fsdp.hf_shards.detection import find
from ckpt_fsdp.hf_shards.opening import open_shards


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield every shard that is broken.

    Where the checkpoint did not open for one of them.
    """
    if checkpoint is None and any(match.root == "" for match in find(files)):
        yield from map(Finding.of_error, open_shards(files).errors)
