"""The generic checks, made from any manifest: coverage at every depth, then checksums, bytes and values."""

from collections.abc import Callable, Generator, Iterator
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
    if not (yield from _held(checkpoint.settle)) or request.depth < Depth.BYTES:
        return
    if checkpoint.check_bytes is not None:
        yield from _held(checkpoint.check_bytes)
    from ckpt_core.reading.sweep import sweep

    yield from sweep(checkpoint, values=request.depth >= Depth.VALUES, leave_out=broken)


def _held(check: "Callable[[], Iterator[Finding] | None]") -> "Generator[Finding, None, bool]":
    """What a check finds, the error that ends it included; returns whether it came to its end."""
    from ckpt_core.errors import CkptError
    from ckpt_core.schema.findings import Finding

    try:
        yield from check() or ()
    except CkptError as error:
        yield Finding.of_error(error)
        return False
    return True
