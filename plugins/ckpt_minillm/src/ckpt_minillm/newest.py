"""Orders two files by the step recorded in them.

Their time plays no part.

A file that resumes a training holds its epoch and step. Weights hold none: of those, the seal that ckpt wrote beside
them does. Where neither is there, nothing tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_core import (
    Candidate,
    CheckpointNotFoundError,
    Files,
    Priority,
    UnreachableError,
    UsageError,
    list_files,
    read_seal,
)
from ckpt_core.codecs import read_torch_file
from ckpt_minillm.naming import parse_name

Progress = tuple[int, int]
"""Epoch, and step in it."""

_UNREACHABLE: Progress = (1 << 62, 0)
"""Before all others: core then meets the place that does not answer, and ends the search there."""


def newest_first(own: Sequence[Candidate]) -> list[Candidate]:
    """Return a stage's two files, the later step first.

    They are the remote and the local file; the first is probed first.

    Raises:
        UsageError: A file is there, and nothing records its step.
    """
    recorded = [(candidate, _progress(candidate)) for candidate in own]
    there = [(candidate, progress) for candidate, progress in recorded if progress is not None]
    missing = [candidate for candidate, progress in recorded if progress is None]
    there.sort(key=lambda pair: pair[1], reverse=True)
    ordered = [_said(candidate, progress) for candidate, progress in there] + missing
    if ordered and ordered[0].priority is Priority.LOCAL:
        ordered[1:] = [replace(candidate, priority=Priority.FALLBACK) for candidate in ordered[1:]]
    return ordered


def _said(candidate: Candidate, progress: Progress) -> Candidate:
    if progress == _UNREACHABLE:
        return candidate
    return replace(candidate, reason=f"{candidate.reason}; recorded epoch {progress[0]}, step {progress[1]}")


def _progress(candidate: Candidate) -> Progress | None:
    """Return the progress recorded of a file.

    None where there is no file.
    """
    try:
        files = list_files(candidate.url)
    except CheckpointNotFoundError:
        return None
    except UnreachableError:
        return _UNREACHABLE
    progress = _recorded(files)
    if progress is None:
        raise UsageError(
            f"prefer=newest: {candidate} does not record its step, and the time of a file tells nothing; "
            "choose prefer=remote or prefer=local, or give the path"
        )
    return progress


def _recorded(files: Files) -> Progress | None:
    path = next(iter(files.entries), "")
    name = parse_name(path)
    if name is not None and name.resume:
        root = read_torch_file(files, path).root
        return _of(root) if isinstance(root, dict) else None
    seal = read_seal(files)
    if seal is None or path not in seal.files or seal.files[path].size != files.size(path):
        return None
    return _of(seal.provenance)


def _of(values: Mapping[Any, Any]) -> Progress | None:
    epoch, step = values.get("epoch"), values.get("step")
    return (epoch, step) if type(epoch) is int and type(step) is int else None
