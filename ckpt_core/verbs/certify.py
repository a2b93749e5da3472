"""Certify: check a conversion's certificate again from both ends.

They are the source, and what was made of it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckpt_core.arguments import argument
from ckpt_core.errors import CkptError, UnreachableError, UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.base_model.patch_embedding import TO_CONV, TO_LINEAR, rearrangement, stream_rearranged
from ckpt_core.reading.base_model.view import FROM_BASE
from ckpt_core.reading.casting.conversions import Cast
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.digests import digest_tensor
from ckpt_core.schema.dtypes import BY_CODE, DType
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.plans import TensorKey
from ckpt_core.schema.side_files.seals import COPY, Certificate, Seal
from ckpt_core.schema.text import printable
from ckpt_core.storage.digests import TensorDigest
from ckpt_core.storage.sealing import read_seal
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import OWN_CHECKS, open_checkpoint
from ckpt_core.verbs.reference import Reference, query_of

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress


@dataclass(frozen=True, slots=True)
class Certification:
    """The comparison with a certificate, and what of it does not hold.

    Attributes:
        source: What the conversion was made of.
        base: The base model that some tensors are of; None where none is.
        operations: How many tensors are of each operation that was done again: `copy`, `cast F32 to BF16`.
    """

    findings: tuple[Finding, ...]
    source: str
    base: str | None
    operations: Mapping[str, int]


@checked()
def certify(
    ref: Reference,
    source: Reference | None = None,
    *,
    base: Reference | None = None,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, object] | None = None,
    manager: CkptPluginManager | None = None,
) -> list[Finding]:
    """Return what does not hold of a certificate; see `certification`."""
    return list(certification(ref, source, base=base, progress=progress, manager=manager).findings)


@checked()
def certification(
    ref: Reference,
    source: Reference | None = None,
    *,
    base: Reference | None = None,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, object] | None = None,
    manager: CkptPluginManager | None = None,
) -> Certification:
    """Read both ends of a conversion and compare them with its certificate.

    Args:
        ref: What was made.
        source: What it was made of; None for the place that the seal names.
        base: The base model that some tensors are of; None for the place that the seal names.
        progress: Told of the bytes read.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.

    Returns:
        What was compared. Its findings: CA003 for each tensor whose source is not what it was, CA004 for each whose
        target is not what was written, CA005 for each whose target is not the stated operation on the source; none
        where all holds.

    Raises:
        UsageError: There is no certificate, or the source or the base is not known.
    """
    made = open_checkpoint(ref, manager=manager, checks=OWN_CHECKS)
    seal = read_seal(made.files)
    if seal is None or not seal.certificates:
        raise UsageError(f"{made.location}: has no certificate; only what ckpt convert wrote has one")
    opened_with = seal.provenance.get("source_options")
    options = opened_with if isinstance(opened_with, dict) else None
    origin = open_checkpoint(_named(made, seal, "source", source), options=options, manager=manager, checks=OWN_CHECKS)
    ends = [made, origin]
    if any(FROM_BASE in _steps(certificate) for certificate in seal.certificates.values()):
        ends.append(open_checkpoint(_named(made, seal, "base", base), manager=manager, checks=OWN_CHECKS))
    for end in ends:
        end.progress = progress
    if progress is not None:
        progress.begin(sum(o.nbytes for end in ends for c in end.manifest.components for _, o in c.tensors.infos()))
    findings: list[Finding] = []
    for name, certificate in seal.certificates.items():
        end = ends[-1] if FROM_BASE in _steps(certificate) else origin
        findings.extend(_check(name, certificate, made, end))
    for end in ends:
        end.check_unchanged(failed=bool(findings))
    third = str(ends[2].location) if len(ends) == 3 else None
    done = Counter(certificate.operation for certificate in seal.certificates.values())
    return Certification(tuple(findings), str(origin.location), third, done)


def _named(made: StoredCheckpoint, seal: Seal, what: str, given: Reference | None) -> Reference:
    if given is not None:
        query_of(given, name=what)
        return given
    place = seal.provenance.get(what)
    if not isinstance(place, str):
        raise UsageError(f"{made.location}: the certificate does not name its {what}; give {argument(what)}")
    return place


def _steps(certificate: Certificate) -> list[str]:
    return certificate.operation.split("; ")


def _check(name: str, certificate: Certificate, made: StoredCheckpoint, origin: StoredCheckpoint) -> Iterator[Finding]:
    label, _, tensor = name.partition("/")
    key = certificate.source.partition("/")
    try:
        entry = made.component(label).tensors[tensor]
        target = digest_tensor(made, label, tensor, entry)
        before, after = _redo(origin, (key[0], key[2]), _steps(certificate), entry.shape)
    except UnreachableError:
        raise
    except (CkptError, KeyError) as error:
        yield _finding("CA003", tensor, f"cannot be compared ({error})")
        return
    if before != certificate.source_digest:
        yield _finding("CA003", tensor, "its source is not what it was when it was converted")
    if target != certificate.target:
        yield _finding("CA004", tensor, "is not what the conversion wrote")
    if target != after:
        yield _finding("CA005", tensor, f"is not what {printable(certificate.operation)} makes of its source")


def _redo(origin: StoredCheckpoint, key: TensorKey, steps: list[str], shape: tuple[int, ...]) -> tuple[str, str]:
    """Return the source's digest, and that of the steps' result.

    Both are computed in slabs.
    """
    label, name = key
    entry = origin.component(label).tensors[name]
    how = rearrangement(entry, shape) if {TO_LINEAR, TO_CONV} & set(steps) else None
    kinds = [_cast(step) for step in steps if step not in (FROM_BASE, COPY, TO_LINEAR, TO_CONV)]
    before = TensorDigest(entry.dtype, entry.shape)
    after = TensorDigest(kinds[-1][1] if kinds else entry.dtype, how.target if how else entry.shape)
    casts = [Cast(was, becomes) for was, becomes in kinds]
    slabs = origin.stream(label, name) if how is None else stream_rearranged(origin, label, name, how)
    for read, moved in slabs:
        before.update(read)
        written = moved
        for cast in casts:
            written = cast(written)
        after.update(written)
    return before.hexdigest(), after.hexdigest()


def _cast(step: str) -> tuple[DType, DType]:
    """Return the types of a step like `cast F32 to BF16`.

    UsageError for any other step: a later version may know more.
    """
    match step.split():
        case ["cast", was, "to", becomes] if was in BY_CODE and becomes in BY_CODE:
            return BY_CODE[was], BY_CODE[becomes]
    raise UsageError(f"{step!r}: not an operation that can be done again here; use the version that converted it")


def _finding(code: str, name: str, message: str) -> Finding:
    return Finding(code, Severity.ERROR, f"{printable(name)}: {message}", None, name)
