"""Format `fsdp-ranks`: a torch file a rank, with DTensors. What a layout must offer, imported when needed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_core import Checkpoint, Files, Finding, FormatMatch, LoadRequest, StoredCheckpoint, VerifyRequest


def find(files: "Files") -> "Iterable[FormatMatch]":
    """The directories of a listing that hold rank files."""
    from ckpt_fsdp.ranks.detection import find_rank_files

    return find_rank_files(files)


def read(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    """The listed directory, opened."""
    from ckpt_fsdp.ranks.opening import open_ranks

    return open_ranks(files, match)


def check(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """Whether what several ranks stored of one element is the same, from the bytes depth on."""
    from ckpt_fsdp.ranks.replicas import check_replicas

    return check_replicas(checkpoint, request)
