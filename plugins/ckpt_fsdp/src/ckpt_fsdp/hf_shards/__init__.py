"""The layout that DCP writes as safetensors: a file of boxes a rank, which no index describes.

Source: torch `torch/distributed/checkpoint/hf_storage.py`, `_hf_utils.py`, `filesystem.py` (_write_files_from_queue).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core import Checkpoint, Files, Finding, FormatMatch, LoadRequest, StoredCheckpoint, VerifyRequest


def find(files: "Files") -> "Iterable[FormatMatch]":
    """The directories of a listing that are such a checkpoint."""
    from ckpt_fsdp.hf_shards import detection

    return detection.find(files)


def read(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    """The listed directory, opened."""
    from ckpt_fsdp.hf_shards import layout

    return layout.read(files, match, request)


def check(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What is wrong with an open checkpoint beyond what its table shows."""
    from ckpt_fsdp.hf_shards import layout

    return layout.check(files, checkpoint, request)
