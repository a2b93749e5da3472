"""Format `bagel`: BAGEL's training directories, of all four kinds. What a layout must offer, imported when needed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core import Checkpoint, Files, Finding, FormatMatch, LoadRequest, StoredCheckpoint, VerifyRequest


def find(files: "Files") -> "Iterable[FormatMatch]":
    """The training directories of a listing."""
    from ckpt_fsdp.bagel.detection import find_training

    return find_training(files)


def read(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    """The listed directory, opened, but for its directories of DCP: core opens those as parts."""
    from ckpt_fsdp.bagel.opening import open_training

    return open_training(files, match)


def check(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What metadata.json and the names of files promise, and is not there."""
    from ckpt_fsdp.bagel.checks import check_training

    return check_training(files, checkpoint, request)
