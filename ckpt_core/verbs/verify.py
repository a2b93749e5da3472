"""Verify: everything that is wrong with a checkpoint, found at the depth that was asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import CorruptError, LoadError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.findings import Depth, Finding, Severity, VerifyReport, VerifyRequest, sorted_findings
from ckpt_core.verbs.opening import Place, find, member_place

if TYPE_CHECKING:
    from ckpt_core.schema.profiles import Assessment, Profile
    from ckpt_core.schema.progress import Progress


@dataclass(frozen=True, slots=True)
class Verification:
    """A report, and what it is about. `checkpoint` is None where it did not open."""

    place: Place
    report: VerifyReport
    checkpoint: StoredCheckpoint | None = None


def verify(
    ref: str | None = None,
    *,
    depth: Depth = Depth.LAYOUT,
    profile: "Profile | None" = None,
    without: Sequence[str] = (),
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: "Progress | None" = None,
    manager: CkptPluginManager | None = None,
) -> Verification:
    """Check a checkpoint.

    Args:
        ref: See `load`.
        depth: LAYOUT reads headers; BYTES every byte, against the checksums there are; VALUES looks for NaN too.
        profile: Say also whether it is complete for this purpose; the report's `assessment`.
        without: With a profile: kinds of components that the training is known to have had none of.
        hints: See `load`.
        format: See `load`.
        options: See `load`.
        progress: Told how many bytes there are to read, and how far it is; from the BYTES depth on.
        manager: See `load`.

    Returns:
        A report; damage is in its findings, not raised.

    Raises:
        CkptError: Nothing could be checked: not there, not reachable, of no known format, or unsafe.
    """
    request = VerifyRequest(depth, dict(options or {}), profile, tuple(without))
    return verify_place(find(ref, hints=hints, format=format, manager=manager), request, progress=progress)


def verify_place(place: Place, request: VerifyRequest, *, progress: "Progress | None" = None) -> Verification:
    """Check the checkpoint of a place that was found already; see `verify`."""
    checkpoint, failure = _open(place, request.options)
    tensors, nbytes = _measure(checkpoint)
    if progress is not None and checkpoint is not None and request.depth > Depth.LAYOUT:
        progress.begin(nbytes)
        checkpoint.progress = progress
    report = place.manager.hooks.verify(files=place.files, checkpoint=checkpoint, request=request)
    findings = list(report.findings)
    if failure is not None and not any(_says_more(finding, failure) for finding in findings):
        findings.append(failure)
    if checkpoint is not None and not tensors and not _has_state(checkpoint):
        findings.append(Finding("CK007", Severity.ERROR, f"{place.files.location}: holds no tensor and no state"))
    full = replace(
        report,
        findings=sorted_findings(findings),
        checked_tensors=tensors,
        checked_bytes=nbytes if request.depth > Depth.LAYOUT else 0,
        assessment=_assess(checkpoint, request, findings),
    )
    return Verification(place, full, checkpoint)


def _says_more(finding: Finding, failure: Finding) -> bool:
    """Whether a finding says why it did not open. That a file is not as it was sealed does not say what that means."""
    sealed = finding.code.startswith("SL")
    return finding.severity is Severity.ERROR and finding.path == failure.path and not sealed


def verify_members(
    place: Place, request: VerifyRequest, *, progress: "Progress | None" = None
) -> Iterator[Verification]:
    """Check every checkpoint of a container, in the order of their steps, then of their roots."""
    for match in sorted(place.detection.members, key=lambda match: (match.step is None, match.step or 0, match.root)):
        yield verify_place(member_place(place, match), request, progress=progress)


def _assess(
    checkpoint: StoredCheckpoint | None, request: VerifyRequest, findings: Sequence[Finding]
) -> "Assessment | None":
    if request.profile is None:
        return None
    from ckpt_core.schema.profiles import assess

    manifest = None if checkpoint is None else checkpoint.manifest
    return assess(manifest, request.profile, findings, without=request.without)


def _open(place: Place, options: Mapping[str, Any] | None) -> tuple[StoredCheckpoint | None, Finding | None]:
    try:
        return place.open(options, lenient=True), None
    except (CorruptError, LoadError) as error:
        return None, Finding.of_error(error)


def _measure(checkpoint: StoredCheckpoint | None) -> tuple[int, int]:
    if checkpoint is None:
        return 0, 0
    tensors = nbytes = 0
    for component in checkpoint.manifest.components:
        for _, outline in component.tensors.outlines():
            tensors += 1
            nbytes += 0 if outline.alias_of else outline.nbytes
    return tensors, nbytes


def _has_state(checkpoint: StoredCheckpoint) -> bool:
    return any(component.state not in (None, {}, []) for component in checkpoint.manifest.components)
