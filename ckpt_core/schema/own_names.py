"""The names of what we put beside a checkpoint, which is no part of it: seals, stages, locks."""

from collections.abc import Container

DIRECTORY_SEAL = "ckpt.manifest.json"
BLOCKS = "ckpt.blocks"
FILE_SUFFIX = ".ckpt.json"
MARK = ".ckpt-"
"""In the name of every stage and lock: `.NAME.ckpt-stage-ID`, `.NAME.ckpt-lock`, `.NAME.ckpt-old`."""


def is_ours(path: str, listed: Container[str]) -> bool:
    """Whether a path of a listing is no part of a checkpoint: a seal, or what a write leaves while it is under way."""
    if path.endswith(FILE_SUFFIX):
        return path.removesuffix(FILE_SUFFIX) in listed
    parts = path.split("/")
    if parts[-1] in (DIRECTORY_SEAL, BLOCKS):
        return True
    return any(part.startswith(".") and MARK in part for part in parts)
