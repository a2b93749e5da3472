"""Recognises BAGEL's training checkpoints.

Names and the content of metadata.json tell.
"""

import json
from collections.abc import Iterator
from typing import Any

from ckpt_core import Confidence, Files, FormatMatch, LocationKind, Part
from ckpt_fsdp.bagel_names import DATA, METADATA, DirectoryContent, step_of, survey

_SHARDED = "sharded"


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each directory of BAGEL's trainers.

    The listed directory itself, and each below it.
    """
    if files.location.kind is LocationKind.FILE:
        return
    for root, content in sorted(survey(files.entries).items()):
        claim = _claim(files, root, content)
        if claim is not None:
            confidence, evidence = claim
            parts = tuple(Part(folder, kind, "dcp") for kind, folder in sorted(content.sharded.items(), reverse=True))
            step = step_of((root or files.location.name).rpartition("/")[2])
            yield FormatMatch("bagel", confidence, evidence, root, step, parts)


def sharded_metadata(files: Files, root: str, directory: DirectoryContent) -> dict[str, Any] | None:
    """Return a metadata.json that says `sharded`.

    None of any other: Megatron and NeMo write the name too.
    """
    if METADATA not in directory.others:
        return None
    try:
        content = json.loads(files.head(f"{root}/{METADATA}".lstrip("/")))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.get("checkpoint_type") == _SHARDED else None


def _claim(files: Files, root: str, content: DirectoryContent) -> tuple[Confidence, str] | None:
    if sharded_metadata(files, root, content) is not None:
        return Confidence.CERTAIN, f'{METADATA} with checkpoint_type "{_SHARDED}"'
    optimizer = content.ranks.get("optimizer")
    if content.flat or (optimizer is not None and optimizer.world is not None):
        first = next(iter(content.flat.values()), "") or next(
            iter(optimizer.paths.values()) if optimizer else iter([""])
        )
        seen = f"{first} beside weights" if content.has_weights else f"{first} without weights"
        return (Confidence.CERTAIN if content.has_weights else Confidence.LIKELY), seen
    if {"model", "ema"} & set(content.ranks) or (content.sharded and optimizer is not None):
        return Confidence.LIKELY, f"a file of BAGEL's for each rank, without {METADATA}"
    if DATA in content.others and content.has_weights:
        return Confidence.LIKELY, f"{DATA} beside weights"
    return None
