"""Verify a store of versions: all of its records and digests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.verification import sorted_findings
from ckpt_core.storage.versions.checking import Proof
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.reference import Destination
from ckpt_core.verbs.versions.history import opened_store

if TYPE_CHECKING:
    from ckpt_core.schema.access.targets import Progress


@dataclass(frozen=True, slots=True)
class VersionsReport:
    """The outcome of a verification of a store.

    Attributes:
        store: Where it is.
        findings: What is wrong.
        versions: How many versions were looked at.
        pieces: How many pieces they are made of; each was read once.
        nbytes: Bytes of those.
    """

    store: str
    findings: tuple[Finding, ...]
    versions: int
    pieces: int
    nbytes: int

    @property
    def ok(self) -> bool:
        """True where nothing is wrong."""
        return all(finding.severity < Severity.ERROR for finding in self.findings)


@checked()
def verify_versions(
    store: Destination,
    *,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
) -> VersionsReport:
    """Prove every version of a store: each piece by its SHA-256, once.

    Args:
        store: Its path or URL.
        progress: Told of the bytes read.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.

    Returns:
        A report; damage is in its findings, not raised.

    Raises:
        CheckpointNotFoundError: No store is there.
    """
    place = opened_store(store)
    proof = Proof(place)
    proof.prove(progress)
    findings = tuple(sorted_findings(proof.findings))
    return VersionsReport(str(place), findings, proof.versions, proof.pieces, proof.nbytes)
