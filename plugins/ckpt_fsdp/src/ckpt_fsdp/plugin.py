"""The hooks: sharded layouts found, read, written, checked. Each layout is a module, imported when it is needed."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpt_core import Format, Kind, hookimpl

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

_LAYOUTS: dict[str, str] = {
    "dcp": "ckpt_fsdp.dcp",
}
"""The module of each format: `find(files)`, `read(files, match, request)`, `check(files, checkpoint, request)`, and
`write(checkpoint, target)` where the format can be written."""


@hookimpl
def formats() -> tuple[Format, ...]:
    return (Format("dcp", "a directory that torch.distributed.checkpoint wrote: .metadata and .distcp files"),)


@hookimpl
def detect_format(files: "Files") -> "Iterator[FormatMatch]":
    if files.location.kind is Kind.FILE:
        return
    for name in _LAYOUTS:
        yield from _layout(name).find(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    checkpoint: StoredCheckpoint = _layout(match.format).read(files, match, request)
    return checkpoint


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    manifest: Manifest = _layout(target.format).write(checkpoint, target)
    return manifest


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    """What the layout itself checks. A checkpoint that did not open is asked of every layout that claims it."""
    names = [checkpoint.match.format] if checkpoint is not None else list(_LAYOUTS)
    for name in names:
        if name in _LAYOUTS:
            yield from _layout(name).check(files, checkpoint, request)


def _layout(name: str) -> Any:
    return import_module(_LAYOUTS[name])
