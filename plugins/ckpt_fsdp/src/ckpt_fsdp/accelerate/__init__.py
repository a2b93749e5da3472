"""Directories that Accelerate's `save_state` writes of models under FSDP.

Source: accelerate `utils/fsdp_utils.py` (save_fsdp_model, save_fsdp_optimizer), `checkpointing.py` and
`utils/constants.py`. The Trainer of transformers saves models in the same way, among files of its own.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core import Checkpoint, Files, Finding, FormatMatch, LoadRequest, StoredCheckpoint, VerifyRequest


def find(files: "Files") -> "Iterable[FormatMatch]":
    """The directories of a listing that are such a checkpoint."""
    from ckpt_fsdp.accelerate import detection

    return detection.find(files)


def read(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    """The listed directory, opened."""
    from ckpt_fsdp.accelerate import layout

    return layout.read(files, match, request)


def check(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What is wrong with an open checkpoint beyond what its table shows."""
    from ckpt_fsdp.accelerate import layout

    return layout.check(files, checkpoint, request)
