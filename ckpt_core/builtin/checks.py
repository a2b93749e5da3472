"""The generic checks, made from any manifest: coverage at every depth, all bytes readable, all values finite."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ckpt_core.schema.access import Checkpoint, Files
    from ckpt_core.schema.findings import Finding, VerifyRequest


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.reading.coverage import check_component
    from ckpt_core.schema.findings import Depth, Finding, Severity
    from ckpt_core.schema.text import printable

    for path, reason in files.skipped.items():
        message = f"{printable(path)}: left out of the listing: {reason}"
        yield Finding("CK006", Severity.WARNING, message, path, hint="what it holds was not checked")
    if checkpoint is None or not isinstance(checkpoint, StoredCheckpoint):
        return
    yield from checkpoint.manifest.findings
    broken: set[str | None] = set()
    for component in checkpoint.manifest.components:
        for finding in check_component(files, component):
            broken.add(finding.tensor)
            yield finding
    if request.depth >= Depth.BYTES:
        from ckpt_core.reading.sweep import sweep

        yield from sweep(checkpoint, values=request.depth >= Depth.VALUES, leave_out=broken)
