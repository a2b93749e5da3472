"""Verify: find everything that is wrong with a checkpoint.

It is looked for at the depth that was asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import CorruptError, LoadError, UnsupportedFormatError, UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.assessing import assessment_of
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.summaries import html_table
from ckpt_core.schema.text import printable
from ckpt_core.schema.verification import Depth, Sampling, VerifyReport, VerifyRequest, depth_named, sorted_findings
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import OWN_CHECKS, Place, find, member_place
from ckpt_core.verbs.reference import Reference, names_of, profile_of

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress
    from ckpt_core.schema.formats import FormatMatch
    from ckpt_core.schema.roles import Profile


@dataclass(frozen=True, slots=True)
class Verification:
    """A report, and the checkpoint that it is about.

    `checkpoint` is None where it did not open.
    """

    place: Place
    report: VerifyReport
    checkpoint: StoredCheckpoint | None = None

    def __repr__(self) -> str:
        return f"<Verification {self.place.files.location}: {self.report.verdict}>"

    def _repr_html_(self) -> str:
        rows = [(one.code, one.severity.name.lower(), one.path or "-", one.message) for one in self.report.findings]
        title = f"{self.place.files.location}: {self.report.verdict}"
        return html_table(title, ("code", "severity", "path", "message"), rows)


@checked()
def verify(
    ref: Reference | None = None,
    *,
    depth: Depth | str = Depth.LAYOUT,
    profile: "Profile | str | None" = None,
    without: Sequence[str] = (),
    sampling: Sampling | None = None,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> Verification:
    """Check a checkpoint.

    Args:
        ref: See `load`. An open checkpoint is opened anew, from the listing that it was opened from.
        depth: `layout` reads headers; `bytes` every byte, against the checksums there are; `values` looks for NaN too.
        profile: Say also whether it is complete for this purpose; the report's `assessment`.
        without: With a profile: kinds of components that the training is known to have had none of.
        sampling: Read a part of the bytes only, by share or for a time; from the BYTES depth on. The report says how
            much it was.
        hints: See `load`.
        format: See `load`.
        options: See `load`.
        progress: Told how many bytes there are to read, and how far it is; from the BYTES depth on.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: See `load`.

    Returns:
        A report; damage is in its findings, not raised.

    Raises:
        CkptError: Nothing could be checked: not there, not reachable, of no known format, or unsafe.
        UsageError: An argument is not what it may be; or a sample of the layout depth, which reads no bytes of tensors.
        ReplacedError: It was replaced, changed or removed meanwhile, whatever was found.
    """
    deep = depth_named(depth)
    if sampling is not None and deep is Depth.LAYOUT:
        raise UsageError("a sample of the layout depth: it reads headers only; ask for bytes or values")
    purpose = None if profile is None else profile_of(profile)
    request = VerifyRequest(deep, dict(options or {}), purpose, names_of(without), sampling)
    return verify_place(
        find(ref, hints=hints, format=format, manager=manager, checks=OWN_CHECKS), request, progress=progress
    )


def verify_place(place: Place, request: VerifyRequest, *, progress: "Progress | None" = None) -> Verification:
    """Check the checkpoint of a place that was found already; see `verify`.

    Raises:
        ReplacedError: It was replaced, changed or removed meanwhile, whatever was found.
    """
    with one_moment(place.files, failures_only=True):
        verification = _verify(place, request, progress)
    report = verification.report
    complete = report.assessment is None or not report.assessment.lacking
    suspects = [finding.path for finding in report.findings if finding.path is not None]
    place.files.check_unchanged(failed=report.worst > Severity.INFO or not complete, suspects=suspects)
    return verification


def _verify(place: Place, request: VerifyRequest, progress: "Progress | None") -> Verification:
    checkpoint, failure = _open(place, request.options)
    tensors, nbytes = _measure(checkpoint)
    meter = _Meter(progress)
    if checkpoint is not None and request.depth > Depth.LAYOUT:
        meter.begin(nbytes if request.sampling is None else int(nbytes * request.sampling.share))
        checkpoint.progress = meter
    report = place.manager.hooks.verify(files=place.files, checkpoint=checkpoint, request=request)
    findings = list(report.findings)
    if failure is not None and not any(_says_more(finding, failure) for finding in findings):
        findings.append(failure)
    assessment = assessment_of(checkpoint, request, findings)
    if checkpoint is not None and not tensors and not _has_state(checkpoint):
        findings.append(Finding("CK007", Severity.ERROR, f"{place.files.location}: holds no tensor and no state"))
    elif checkpoint is not None and not tensors and request.profile is None:
        findings.append(_without_tensors(place))
    if request.profile is None:
        findings += _without_weights(checkpoint)
    full = replace(
        report,
        findings=sorted_findings(findings),
        checked_tensors=tensors,
        checked_bytes=_checked(request, nbytes, meter.seen),
        total_bytes=nbytes,
        assessment=assessment,
    )
    return Verification(place, full, checkpoint)


def _says_more(finding: Finding, failure: Finding) -> bool:
    """Return True if a finding says why nothing opened.

    That a file is not as it was sealed does not say what that means.
    """
    sealed = finding.code.startswith("SL")
    return finding.severity is Severity.ERROR and finding.path == failure.path and not sealed


def verify_members(
    place: Place, request: VerifyRequest, *, progress: "Progress | None" = None
) -> Iterator[Verification]:
    """Check every checkpoint of a container.

    They come in the order of their steps, then of their roots.

    A time for reading is for all of them: each gets an equal part of what is left.
    """
    matches = sorted(place.detection.members, key=lambda match: (match.step is None, match.step or 0, match.root))
    each = _verified_each(place, matches, request, progress)
    yield from each if request.profile is None else _judged_by_runs(list(each), matches, request)


def _verified_each(
    place: Place, matches: "Sequence[FormatMatch]", request: VerifyRequest, progress: "Progress | None"
) -> Iterator[Verification]:
    begun = monotonic()
    for number, match in enumerate(matches):
        share = _timed(request, monotonic() - begun, len(matches) - number)
        yield _verify_member(member_place(place, match), share, progress)


def _verify_member(place: Place, request: VerifyRequest, progress: "Progress | None") -> Verification:
    """Verify one checkpoint of several.

    One of no known format is its own finding, and the others are checked.
    """
    try:
        return verify_place(place, request, progress=progress)
    except UnsupportedFormatError as error:
        report = VerifyReport((Finding.of_error(error),), depth=request.depth)
        return Verification(place, replace(report, assessment=assessment_of(None, request, report.findings)))


def _judged_by_runs(
    found: Sequence[Verification], matches: "Sequence[FormatMatch]", request: VerifyRequest
) -> Iterator[Verification]:
    """Yield the verifications with verdicts that know their run.

    A verdict counts what other checkpoints of the run have.
    """
    from ckpt_core.manager.runs import runs_of
    from ckpt_core.manager.trials import Trial, described

    trials = []
    for one, match in zip(found, matches, strict=True):
        trial = Trial(match.root, one.place.files, match, match.step)
        trials.append(trial if one.checkpoint is None else described(trial, one.checkpoint.manifest))
    has = {trial.root: run.has_besides(trial) for run in runs_of(trials) for trial in run.trials}
    for one, match in zip(found, matches, strict=True):
        asked = replace(request, run=has.get(match.root, {}))
        assessment = assessment_of(one.checkpoint, asked, one.report.findings)
        yield replace(one, report=replace(one.report, assessment=assessment))


def _timed(request: VerifyRequest, spent: float, left: int) -> VerifyRequest:
    """The request for one of so many that are left."""
    sampling = request.sampling
    if sampling is None or sampling.seconds is None:
        return request
    seconds = max((sampling.seconds - spent) / left, 1e-6)
    return replace(request, sampling=replace(sampling, seconds=seconds))


class _Meter:
    """Counts what is read of tensors, and passes it on."""

    def __init__(self, progress: "Progress | None") -> None:
        self._progress, self._lock = progress, Lock()
        self.seen = 0

    def begin(self, total: int) -> None:
        if self._progress is not None:
            self._progress.begin(total)

    def advance(self, nbytes: int) -> None:
        with self._lock:
            self.seen += nbytes
        if self._progress is not None:
            self._progress.advance(nbytes)


def _checked(request: VerifyRequest, nbytes: int, seen: int) -> int:
    """Return the bytes of tensors that were read.

    Damage is read twice, to name it, and counts once.
    """
    if request.depth is Depth.LAYOUT:
        return 0
    return nbytes if request.sampling is None else min(seen, nbytes)


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
        for _, info in component.tensors.infos():
            tensors += 1
            nbytes += 0 if info.alias_of else info.nbytes
    return tensors, nbytes


def _has_state(checkpoint: StoredCheckpoint) -> bool:
    kept = [component for component in checkpoint.manifest.components if component.kind not in ("config", "tokenizer")]
    return any(component.state not in (None, {}, []) for component in kept)


def _without_tensors(place: Place) -> Finding:
    """Return RS001 where nothing was checked.

    "ok" must not be said of nothing, though a verdict for a purpose says by itself what is absent.
    """
    message = f"{place.files.location}: holds no tensor, only plain state: there is nothing in it to be checked"
    return Finding("RS001", Severity.ERROR, message, hint="name the checkpoint that it is a part of")


def _without_weights(checkpoint: StoredCheckpoint | None) -> Iterator[Finding]:
    """Return CK024 where the format's weights are absent.

    A verdict for a purpose would say so by itself.
    """
    from ckpt_core.schema.kinds import WEIGHTS
    from ckpt_core.schema.roles import Presence, Profile

    for role in () if checkpoint is None else checkpoint.manifest.roles:
        needed = role.needed_for in (None, Profile.INFERENCE)
        if role.kind in WEIGHTS and role.presence is Presence.ABSENT and needed:
            message = f"{printable(role.label)}: the weights are absent, and everything else that was found was checked"
            hint = f"ask what it is whole for: {argument('profile', 'inference')}, resume or exact-resume"
            yield Finding("CK024", Severity.WARNING, message, role.where or None, hint=hint, component=role.label)
