"""The hooks of this plugin."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ckpt_core import Format, Kind, hookimpl

if TYPE_CHECKING:
    from ckpt_core import (
        Candidate,
        Checkpoint,
        Files,
        Finding,
        FormatMatch,
        Manifest,
        Query,
        StoredCheckpoint,
        Target,
        VerifyRequest,
    )


@hookimpl
def formats() -> tuple[Format, ...]:
    summary = "weights of a MiniLLM or minimind stage: {stage}_{hidden_size}[_moe].pth"
    return (Format("minillm", summary, base="torch", writes=Kind.FILE),)


@hookimpl
def locate(query: "Query") -> "Iterable[Candidate]":
    if not query.hints and any(mark in (query.place or "") for mark in "./"):
        return ()
    from ckpt_minillm.search import candidates

    return candidates(query)


@hookimpl
def detect_format(files: "Files") -> "Iterable[FormatMatch]":
    if not any(path.endswith(".pth") for path in files.entries):
        return ()
    from ckpt_minillm.weights import matches

    return matches(files)


@hookimpl
def load(files: "Files", match: "FormatMatch") -> "StoredCheckpoint":
    from ckpt_minillm.weights import read_weights

    return read_weights(files, match)


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    from ckpt_minillm.writing import save_weights

    return save_weights(checkpoint, target)


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    """What core's torch format checks of its own files, for these: the zip's headers, and its checksums on demand."""
    if checkpoint is None or checkpoint.match.format != "minillm":
        return
    from ckpt_core import Depth
    from ckpt_core.codecs.torch_files import check_torch_file

    yield from check_torch_file(files, next(iter(files.entries)), crcs=request.depth >= Depth.BYTES)
