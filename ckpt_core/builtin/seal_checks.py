"""Checks a checkpoint against its seal: the files at every depth, their bytes from the bytes depth on."""

from collections.abc import Iterator
from functools import cache

from ckpt_core.reading.digests import digest_tensor
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.findings import Depth, Finding, Severity, VerifyRequest
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.seals import Seal
from ckpt_core.schema.tensors import Outline
from ckpt_core.schema.text import printable
from ckpt_core.storage.digests import BLOCK
from ckpt_core.storage.sealing import damaged_blocks, read_seal

_SHOWN = 8
"""Damaged blocks that are named of one file; the rest are counted."""


def check_seal(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    seal = read_seal(files)
    if seal is None:
        return
    stale = list(_stale(files, seal))
    yield from stale
    if request.depth >= Depth.BYTES:
        broken = {finding.path for finding in stale}
        for path in seal.files:
            if path in files.entries and path not in broken:
                yield from _damage(files, checkpoint, path, seal)


def _stale(files: Files, seal: Seal) -> Iterator[Finding]:
    for path, sealed in seal.files.items():
        if path not in files.entries:
            message = f"{printable(path)}: the seal names this file, and it is missing"
            yield Finding("SL003", Severity.ERROR, message, path, hint="copy it again")
        elif files.size(path) != sealed.size:
            message = (
                f"{printable(path)}: has {files.size(path)} bytes, sealed were {sealed.size}: a stale seal, or damage"
            )
            yield Finding("SL001", Severity.ERROR, message, path, hint="copy it again; run ckpt seal if it was changed")
    for path in files.entries:
        if path not in seal.files:
            message = f"{printable(path)}: came after the sealing, nothing is known of it"
            yield Finding("SL004", Severity.WARNING, message, path)


def _damage(files: Files, checkpoint: Checkpoint | None, path: str, seal: Seal) -> Iterator[Finding]:
    found = list(damaged_blocks(files, path, seal.files[path].blocks))
    changed = cache(lambda label, name: _is_changed(checkpoint, label, name, seal))
    hint = "copy the file again; run ckpt seal if it was changed on purpose"
    for number in found[:_SHOWN]:
        start, end = number * BLOCK, min((number + 1) * BLOCK, seal.files[path].size)
        names = [name for label, name in _tensors_in(checkpoint, path, start, end) if changed(label, name)]
        where = f"block {number} (bytes {start} to {end})"
        held = f", and with it {', '.join(map(printable, names[:3]))}{' and more' if len(names) > 3 else ''}"
        message = f"{printable(path)}: {where}{held if names else ''}, is not what was sealed"
        yield Finding("SL002", Severity.ERROR, message, path, names[0] if names else None, hint)
    if len(found) > _SHOWN:
        message = f"{printable(path)}: {len(found) - _SHOWN} more blocks are not what was sealed"
        yield Finding("SL002", Severity.ERROR, message, path, None, hint)


def _tensors_in(checkpoint: Checkpoint | None, path: str, start: int, end: int) -> list[TensorKey]:
    """The tensors with a part in a stretch of a file."""
    if checkpoint is None:
        return []
    return [
        (component.label, name)
        for component in checkpoint.manifest.components
        for name, outline in component.tensors.outlines()
        if any(at < end and stop > start for where, at, stop in _places(component, name, outline) if where == path)
    ]


def _places(component: Component, name: str, outline: Outline) -> list[tuple[str, int, int]]:
    """The stretches of files that a tensor has, each with its start and end."""
    if outline.path is not None:
        return [(outline.path, outline.offset, outline.offset + outline.nbytes)]
    stored = [chunk.stored for chunk in component.tensors[name].chunks if chunk.stored is not None]
    return [(held.path, held.offset, held.end) for held in stored]


def _is_changed(checkpoint: Checkpoint | None, label: str, name: str, seal: Seal) -> bool:
    """Whether a tensor is not what was sealed; it is read whole to tell."""
    assert checkpoint is not None
    entry = checkpoint.manifest.component(label).tensors[name]
    return seal.tensors.get(label, {}).get(name) != digest_tensor(checkpoint, label, name, entry)
