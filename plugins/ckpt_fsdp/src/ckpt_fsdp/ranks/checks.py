"""Compares the bytes of replicas.

They come from hybrid sharding, and are plain tensors that every rank has.
"""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Files, Finding, Severity, StoredCheckpoint, VerifyRequest, printable
from ckpt_fsdp.replicas import differing_copies


def check(files: Files, checkpoint: Checkpoint | None, request: VerifyRequest) -> Iterator[Finding]:
    """Yield RK009 for tensors that ranks stored differently.

    They are compared from the bytes depth on.
    """
    if not isinstance(checkpoint, StoredCheckpoint):
        return
    if request.sampling is not None:
        message = "what several ranks stored alike was not compared: that needs all bytes"
        yield Finding("CK022", Severity.INFO, message)
    if not request.whole:
        return
    for name, one, other in differing_copies(checkpoint.files, checkpoint.manifest.components):
        path = other.stored.path if other.stored is not None else None
        message = (
            f"{printable(name)}: ranks {one.owner} and {other.owner} stored different elements where copies should be"
        )
        yield Finding("RK009", Severity.ERROR, message, path, name, "one of the files is damaged, or of another save")
