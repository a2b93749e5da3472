"""Certify: the certificate of a conversion checked again from its two ends, the source and what was made of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.errors import CkptError, UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.casts import cast
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.digests import digest_tensor
from ckpt_core.schema.dtypes import BY_CODE
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.seals import Certificate
from ckpt_core.schema.text import printable
from ckpt_core.storage.digests import TensorDigest
from ckpt_core.storage.sealing import read_seal
from ckpt_core.verbs.opening import open_checkpoint

if TYPE_CHECKING:
    from ckpt_core.schema.progress import Progress


def certify(
    ref: str,
    source: str | None = None,
    *,
    progress: "Progress | None" = None,
    manager: CkptPluginManager | None = None,
) -> list[Finding]:
    """Read both ends of a conversion and compare them with its certificate.

    Args:
        ref: What was made.
        source: What it was made of; None for the place that the seal names.
        progress: Told of the bytes read.
        manager: The plugin manager; None for the process's own.

    Returns:
        CA003 for each tensor whose source is not what it was, CA004 for each whose target is not what was written,
        CA005 for each whose target is not the stated operation on the source; nothing where all holds.

    Raises:
        UsageError: There is no certificate, or the source is not known.
    """
    made = open_checkpoint(ref, manager=manager)
    seal = read_seal(made.files)
    if seal is None or not seal.certificates:
        raise UsageError(f"{made.location}: has no certificate; only what ckpt convert wrote has one")
    place = source or seal.provenance.get("source")
    if not isinstance(place, str):
        raise UsageError(f"{made.location}: the certificate does not name its source; give --source")
    opened_with = seal.provenance.get("source_options")
    origin = open_checkpoint(place, options=opened_with if isinstance(opened_with, dict) else None, manager=manager)
    for end in (made, origin):
        end.progress = progress
    if progress is not None:
        sizes = [o.nbytes for end in (made, origin) for c in end.manifest.components for _, o in c.tensors.outlines()]
        progress.begin(sum(sizes))
    findings: list[Finding] = []
    for name, certificate in seal.certificates.items():
        findings.extend(_check(name, certificate, made, origin))
    return findings


def _check(name: str, certificate: Certificate, made: StoredCheckpoint, origin: StoredCheckpoint) -> Iterator[Finding]:
    label, _, tensor = name.partition("/")
    from_label, _, from_tensor = certificate.source.partition("/")
    try:
        target = digest_tensor(made, label, tensor, made.component(label).tensors[tensor])
        before, after = _redo(origin, from_label, from_tensor, certificate.operation)
    except (CkptError, KeyError) as error:
        yield _finding("CA003", tensor, f"cannot be compared ({error})")
        return
    if before != certificate.source_digest:
        yield _finding("CA003", tensor, "its source is not what it was when it was converted")
    if target != certificate.target:
        yield _finding("CA004", tensor, "is not what the conversion wrote")
    if target != after:
        yield _finding("CA005", tensor, f"is not what {certificate.operation} makes of its source")


def _redo(origin: StoredCheckpoint, label: str, name: str, operation: str) -> tuple[str, str]:
    """Digest of the source as it is, and of what the operation makes of it."""
    entry = origin.component(label).tensors[name]
    before = TensorDigest(entry.dtype, entry.shape)
    words = operation.split()
    dtype = BY_CODE[words[-1]] if words[0] == "cast" else entry.dtype
    after = TensorDigest(dtype, entry.shape)
    for data, _ in origin.stream(label, name):
        before.update(data)
        after.update(data if dtype is entry.dtype else cast(data, entry.dtype, dtype))
    return before.hexdigest(), after.hexdigest()


def _finding(code: str, name: str, message: str) -> Finding:
    return Finding(code, Severity.ERROR, f"{printable(name)}: {message}", None, name)
