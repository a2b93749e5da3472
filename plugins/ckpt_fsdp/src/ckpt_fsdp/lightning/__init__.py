"""Directories that Lightning's FSDP and model-parallel strategies write: a checkpoint of DCP, and `meta.pt` beside it.

Source: lightning `pytorch/strategies/fsdp.py` and `model_parallel.py` (save_checkpoint), `fabric/utilities/load.py`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core import Checkpoint, Files, Finding, FormatMatch, LoadRequest, StoredCheckpoint, VerifyRequest


def find(files: "Files") -> "Iterable[FormatMatch]":
    """The directories of a listing that are such a checkpoint."""
    from ckpt_fsdp.lightning import detection

    return detection.find(files)


def read(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    """The listed directory, opened."""
    from ckpt_fsdp.lightning import layout

    return layout.read(files, match, request)


def check(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What is wrong with an open checkpoint beyond what its table shows."""
    from ckpt_fsdp.lightning import layout

    return layout.check(files, checkpoint, request)
