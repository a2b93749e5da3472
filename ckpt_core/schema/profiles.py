"""Assessment of a checkpoint against a profile.

The verdict says if everything is there that a purpose needs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ckpt_core.schema.evidence import emptiness, scheduled_by
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.kinds import KINDS, WEIGHTS
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.roles import Presence, Profile, Role
from ckpt_core.schema.text import printable


class Verdict(Enum):
    """The answer for a profile.

    COMPLETE; PARTIAL: what is there is sound, and something is not there; CORRUPT: something must not be trusted.
    """

    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    CORRUPT = "CORRUPT"


@dataclass(frozen=True, slots=True)
class AssessmentLine:
    """One component's role, and if the profile's need is met."""

    role: Role
    needed: bool
    met: bool


@dataclass(frozen=True, slots=True)
class Assessment:
    """The verdict for a profile, with a line for each component.

    Attributes:
        finite: Whether all values were looked at for NaN and infinities; None where that was not asked.
    """

    profile: Profile
    verdict: Verdict
    lines: tuple[AssessmentLine, ...] = ()
    finite: bool | None = None

    @property
    def lacking(self) -> tuple[AssessmentLine, ...]:
        """The lines of components that are needed and not met."""
        return tuple(line for line in self.lines if line.needed and not line.met)

    @property
    def summary(self) -> str:
        """The verdict in one line, with reasons.

        An example is `PARTIAL for resume: optimizer absent (optimizer.pt)`. Behind COMPLETE stands what was not
        checked.
        """
        lacking = self.lacking
        reasons = [_reason(line.role) for line in lacking[:_SHOWN]]
        reasons += [f"{len(lacking) - _SHOWN} more"] if len(lacking) > _SHOWN else []
        tail = f": {', '.join(reasons)}" if reasons else ""
        unread = "; finite: not checked" if self.finite is False and self.verdict is Verdict.COMPLETE else ""
        return f"{self.verdict.value} for {self.profile.value}{tail}{unread}"


NEEDS: Mapping[str, Profile] = {
    "optimizer": Profile.RESUME,
    "scheduler": Profile.RESUME,
    "progress": Profile.RESUME,
    "rng": Profile.EXACT_RESUME,
    "sampler": Profile.EXACT_RESUME,
}
"""The least profile that needs each kind, where the format says nothing else. Weights are needed by all.

A scheduler is needed only where something says that there was one.
"""

_SHOWN = 6
"""Components that a verdict's one line names; each has a line of its own besides."""

_LONG = 80
"""Characters of a name or a note in a verdict's one line."""

_NOTHING_KNOWN: Mapping[str, str] = {}
_UNSCHEDULED = "nothing says that there was one"

_RANK = {profile: rank for rank, profile in enumerate(Profile)}
_GOOD = {Presence.PRESENT, Presence.NOT_NEEDED, Presence.DERIVED}
_GOOD_FOR = {
    Presence.SYNTHESIZED: (Profile.INFERENCE, Profile.RESUME),
    Presence.NARROWED: (Profile.INFERENCE,),
}

_USELESS = (Presence.UNREADABLE, Presence.EMPTY)

_EMPTY = {"RS003": "no step was taken with it"}
"""Codes of findings that a component holds nothing, with what that means."""


def assess(
    manifest: Manifest | None,
    profile: Profile,
    findings: Iterable[Finding] = (),
    *,
    without: Sequence[str] = (),
    run: Mapping[str, str] = _NOTHING_KNOWN,
) -> Assessment:
    """Assess if a checkpoint is complete for a profile.

    Args:
        manifest: All that is known of it; None where it did not open.
        profile: The purpose.
        findings: What its verification found; an ERROR makes it CORRUPT, and the component that it names unreadable, or
            empty. Of one that is absent it says no more than that: what is there is sound.
        without: Kinds that the training is known to have had none of: a run without a scheduler.
        run: Kinds that other checkpoints of the run have, each with the name of one that has it.
    """
    findings = tuple(findings)
    roles = sorted(_roles(manifest, profile, findings, without, run), key=_order)
    weighty = any(role.kind in WEIGHTS and role.presence is Presence.PRESENT for role in roles)
    lines = tuple(_line(role, profile, weighty) for role in roles)
    unreadable = any(line.role.presence in _USELESS for line in lines)
    absent = {line.role.label for line in lines if line.role.presence is Presence.ABSENT}
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if manifest is None or unreadable or any(finding.component not in absent for finding in errors):
        verdict = Verdict.CORRUPT
    else:
        whole = not errors and all(line.met or not line.needed for line in lines)
        verdict = Verdict.COMPLETE if whole else Verdict.PARTIAL
    return Assessment(profile, verdict, lines)


def _roles(
    manifest: Manifest | None,
    profile: Profile,
    findings: Sequence[Finding],
    without: Sequence[str],
    run: Mapping[str, str],
) -> list[Role]:
    """Collect the role of every component.

    The caller is believed first, then the format, then the components' content, then the default for what nothing
    speaks of. Nothing is known to be absent from a checkpoint that did not open.
    """
    roles: dict[str, Role] = {kind: Role(kind, Presence.NOT_NEEDED, note="said to be unused") for kind in without}
    if manifest is not None:
        scheduled = scheduled_by(manifest, run)
        stored = [_stored(component, scheduled) for component in manifest.components]
        for role in (*manifest.roles, *stored):
            if role.kind not in without:
                known = roles.setdefault(role.label, role)
                empty = known.presence is Presence.PRESENT and role.presence is Presence.ABSENT
                roles[role.label] = replace(known, presence=role.presence, note=role.note) if empty else known
    for role in _useless(findings):
        if role.kind not in without:
            roles[role.label] = _worse(roles.get(role.label, role), role)
    broken = {(finding.path, finding.component) for finding in findings if finding.severity is Severity.ERROR}
    for label, role in roles.items():
        # An error that is about the component itself says no more than that it is absent.
        if role.presence is Presence.ABSENT and any(path == role.where and of != label for path, of in broken):
            roles[label] = replace(role, presence=Presence.UNREADABLE)
    kinds = {role.kind for role in roles.values()}
    if not kinds & set(WEIGHTS):
        roles["model"] = _unsaid("model", manifest, run)
    for kind, least in NEEDS.items():
        if kind not in kinds and _RANK[least] <= _RANK[profile]:
            roles[kind] = _unsaid(kind, manifest, run)
    return list(roles.values())


def _unsaid(kind: str, manifest: Manifest | None, run: Mapping[str, str]) -> Role:
    """Return the role of a component that nothing speaks of.

    Nothing is known to be absent from a checkpoint that did not open.
    """
    if manifest is None:
        return Role(kind, Presence.UNREADABLE)
    if kind != "scheduler":
        return Role(kind, Presence.ABSENT)
    scheduled = scheduled_by(manifest, run)
    return Role(kind, Presence.ABSENT if scheduled else Presence.NOT_NEEDED, note=scheduled or _UNSCHEDULED)


def _useless(findings: Iterable[Finding]) -> Iterator[Role]:
    """Yield the components that errors name, as unreadable or empty.

    One that can be read in part only counts as unreadable.
    """
    for finding in findings:
        if finding.component is not None and finding.severity is Severity.ERROR:
            kind, _, name = finding.component.partition(":")
            note = _EMPTY.get(finding.code, "")
            yield Role(kind, Presence.EMPTY if note else Presence.UNREADABLE, finding.path or "", note, name)


def _worse(known: Role, broken: Role) -> Role:
    """Return a role changed for a component that proved broken.

    The first broken file says where. What is absent stays absent.
    """
    if known.presence in (Presence.UNREADABLE, Presence.ABSENT):
        return known
    presence = broken.presence if known.presence is Presence.PRESENT else Presence.UNREADABLE
    return replace(known, presence=presence, where=broken.where or known.where, note=broken.note or known.note)


def _stored(component: Component, scheduled: str) -> Role:
    """Return the role that a component's own content shows.

    An empty scheduler was not needed, unless something else says that there was one.
    """
    empty = emptiness(component)
    if not empty:
        return Role(component.kind, Presence.PRESENT, name=component.name)
    unneeded = component.kind == "scheduler" and not scheduled
    presence = Presence.NOT_NEEDED if unneeded else Presence.ABSENT
    return Role(component.kind, presence, note=empty, name=component.name)


def _line(role: Role, profile: Profile, weighty: bool) -> AssessmentLine:
    """Return the assessment line of a role.

    `weighty` says that some weights are there, so that empty ones beside them are no lack.
    """
    beside = weighty and role.presence not in (Presence.PRESENT, *_USELESS, Presence.NARROWED)
    by_kind = Profile.INFERENCE if role.kind in WEIGHTS and not beside else NEEDS.get(role.kind)
    least = role.needed_for or by_kind
    needed = least is not None and _RANK[least] <= _RANK[profile]
    return AssessmentLine(role, needed, role.presence in _GOOD or profile in _GOOD_FOR.get(role.presence, ()))


def _order(role: Role) -> tuple[int, str, int, str]:
    number = int(role.name) if role.name.isdecimal() else 0
    return (KINDS.index(role.kind) if role.kind in KINDS else len(KINDS), role.kind, number, role.name)


def _reason(role: Role) -> str:
    where = f" ({printable(role.where or role.note, _LONG)})" if role.where or role.note else ""
    return f"{printable(role.label, _LONG)} {role.presence.value}{where}"
