"""Format `dcp`: directories that torch.distributed.checkpoint wrote. What a layout must offer, imported when needed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core import (
        Checkpoint,
        Files,
        Finding,
        FormatMatch,
        LoadRequest,
        Manifest,
        StoredCheckpoint,
        Target,
        VerifyRequest,
    )


def find(files: "Files") -> "Iterable[FormatMatch]":
    """The directories of a listing that hold such a checkpoint."""
    from ckpt_fsdp.dcp.detection import find_checkpoints

    return find_checkpoints(files)


def read(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    """The listed directory, opened."""
    from ckpt_fsdp.dcp.opening import open_checkpoint

    return open_checkpoint(files, match, request)


def check(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What is wrong with an open checkpoint beyond what its table shows."""
    from ckpt_fsdp.dcp.checks import check_checkpoint

    return check_checkpoint(files, checkpoint, request)


def write(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    """Write a checkpoint as such a directory."""
    from ckpt_fsdp.dcp.writing import write_checkpoint

    return write_checkpoint(checkpoint, target)
