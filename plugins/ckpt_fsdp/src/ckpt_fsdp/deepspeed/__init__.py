"""DeepSpeed's checkpoints: a tag directory of what each rank wrote, under a root with a pointer to the latest tag."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core import Checkpoint, Files, Finding, FormatMatch, LoadRequest, StoredCheckpoint, VerifyRequest


def find(files: "Files") -> "Iterable[FormatMatch]":
    """The directories of a listing that are such a checkpoint."""
    from ckpt_fsdp.deepspeed import detection

    return detection.find(files)


def read(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    """The listed directory, opened."""
    from ckpt_fsdp.deepspeed import layout

    return layout.read(files, match, request)


def check(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What is wrong with an open checkpoint beyond what its table shows."""
    from ckpt_fsdp.deepspeed import layout

    return layout.check(files, checkpoint, request)
