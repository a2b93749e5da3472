"""Merges the collected answers of plugins into one.

Candidates are probed in order, claims weighed, findings sorted. The policy is the outermost wrapper of each collecting
hook, so that `pm.hook.locate(query=…)` itself returns a Resolution.
"""

from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import LocateError
from ckpt_core.hookspecs import hookimpl
from ckpt_core.log import Logger
from ckpt_core.manager.guard import Failures
from ckpt_core.schema.formats import Detection, Format, FormatMatch
from ckpt_core.schema.locations import Attempt, Candidate, Location, LocationKind, Outcome, Query, Resolution
from ckpt_core.schema.text import did_you_mean
from ckpt_core.storage.listing import probe, why_missing

if TYPE_CHECKING:
    from ckpt_core.hookspecs import Plugins
    from ckpt_core.schema.access import Checkpoint
    from ckpt_core.schema.repairs import RepairRequest
    from ckpt_core.schema.verification import VerifyRequest

_log = Logger(__name__)

_Wrapper = Generator[None, list[Any], Any]


class Policy:
    """The outermost hook wrappers.

    They see every plugin's answer and return the merged one.
    """

    def __init__(self, manager: "Plugins", failures: Failures) -> None:
        self._manager = manager
        self._failures = failures

    @hookimpl(wrapper=True, tryfirst=True)
    def formats(self) -> _Wrapper:
        answers = yield
        return tuple(sorted(_flat(answers), key=lambda format: format.name))

    @hookimpl(wrapper=True, tryfirst=True)
    def locate(self, query: Query) -> _Wrapper:
        before = len(self._failures)
        answers = yield
        resolution = resolve(query, _flat(answers), notes=self._failures.since(before))
        if resolution.location is None and query.ref:
            stages = [stage for format in self._manager.formats() for stage in format.stages]
            resolution = replace(resolution, meant=None if query.ref in stages else did_you_mean(query.ref, stages))
        _tell(resolution)
        if query.profile is None or resolution.location is None:
            return resolution
        from ckpt_core.manager.newest import narrow

        return narrow(self._manager, resolution)

    @hookimpl(wrapper=True, tryfirst=True)
    def detect_format(self) -> _Wrapper:
        answers = yield
        return weigh(_flat(answers), self._manager.formats())

    @hookimpl(wrapper=True, tryfirst=True)
    def verify(self, checkpoint: "Checkpoint | None", request: "VerifyRequest") -> _Wrapper:
        from ckpt_core.manager.parts import verify_parts
        from ckpt_core.reading.assessing import assessment_of
        from ckpt_core.schema.verification import VerifyReport, sorted_findings

        answers = yield
        findings = sorted_findings([*_flat(answers), *verify_parts(self._manager, checkpoint, request)])
        return VerifyReport(findings, request.depth, assessment=assessment_of(checkpoint, request, findings))

    @hookimpl(wrapper=True, tryfirst=True)
    def repair(self, request: "RepairRequest") -> _Wrapper:
        from ckpt_core.manager.repairs import planned

        answers = yield
        return planned(_flat(answers), request)


_ENDS = (Outcome.UNREACHABLE, Outcome.REJECTED)
"""What ends a search besides the place that is found."""


def _flat(answers: Iterable[Any]) -> list[Any]:
    return [item for answer in answers if answer is not None for item in answer]


def resolve(query: Query, candidates: Iterable[Candidate], *, notes: Sequence[str] = ()) -> Resolution:
    """Probe candidates by priority until one exists.

    A required one that is missing, or a silent place, ends the search.

    Args:
        query: The question.
        candidates: What was proposed, in any order.
        notes: What went wrong while it was proposed; `explain()` ends with it.
    """
    ordered = _each_place_once(sorted(candidates, key=lambda c: (c.priority, c.order, c.url, c.reason)))
    attempts: list[Attempt] = []
    location: Location | None = None
    for index, candidate in enumerate(ordered):
        # A file may have a # in its name: what was asked for whole has no member.
        attempt, location = _probe(candidate, None if candidate.url == query.ref else query.member)
        attempts.append(attempt)
        stuck = attempt.outcome in _ENDS or (candidate.required and location is None)
        if location is not None or stuck:
            attempts += [Attempt(rest, Outcome.NOT_PROBED) for rest in ordered[index + 1 :]]
            break
    return Resolution(query, location, tuple(attempts), tuple(notes))


def _each_place_once(ordered: Sequence[Candidate]) -> list[Candidate]:
    """Return the first candidate of each place.

    It is required where any for that place is: dropping one must not let a search go on.
    """
    required = {candidate.url for candidate in ordered if candidate.required}
    first = {candidate.url: candidate for candidate in reversed(ordered)}
    return [replace(c, required=c.url in required) for c in ordered if first[c.url] is c]


def _probe(candidate: Candidate, member: str | None) -> tuple[Attempt, Location | None]:
    try:
        kind = probe(candidate.url, wanted=candidate.kind)
    except LocateError as error:
        # What is around the reason, the place and the next step, is said by whoever shows the attempt.
        reason, _, step = error.message.removeprefix(f"{candidate}: ").partition("; ")
        return Attempt(candidate, Outcome.UNREACHABLE, reason, step), None
    if kind is None:
        why, step = why_missing(candidate.url) if candidate.required else ("", "")
        return Attempt(candidate, Outcome.MISSING, why, step), None
    if candidate.kind not in (None, kind):
        return Attempt(candidate, Outcome.REJECTED, f"a {kind.value}, where a {candidate.kind.value} belongs"), None
    return Attempt(candidate, Outcome.FOUND, candidate.warning), Location(candidate.url, kind, member)


def _tell(resolution: Resolution) -> None:
    """Log every place considered, with its reason.

    A warning tells in what the place found differs from what was asked for.
    """
    for line in resolution.explain().splitlines():
        _log.info("%s", line)
    for attempt in resolution.attempts:
        if attempt.outcome is Outcome.FOUND and attempt.candidate.warning:
            _log.warning("%s: %s", attempt.candidate, attempt.candidate.warning)


def weigh(matches: Sequence[FormatMatch], formats: Sequence[Format]) -> Detection:
    """Sort claims, and choose the winner at each root.

    A claim that refines another goes before it, then the surest wins. A root that another claim has as its part, or as
    one of its files, is no checkpoint of its own; nor is a file further down in what is claimed as a whole.
    """
    from ckpt_core.schema.tensors import under

    bases = {format.name: format.base for format in formats}
    nested = {under(match.root, part.root) for match in matches for part in match.parts if part.root}
    nested |= {path for match in matches for path in match.files if path != match.root}
    single = {format.name for format in formats if format.writes is LocationKind.FILE}
    wholes = {match.root for match in matches if match.format not in single}
    matches = [m for m in matches if m.root not in nested and not (m.format in single and _is_inside(m.root, wholes))]
    ordered = sorted(matches, key=lambda match: (match.root, -match.confidence, match.format, match.evidence))
    by_root: dict[str, list[FormatMatch]] = {}
    for match in ordered:
        by_root.setdefault(match.root, []).append(match)
    chosen = {root: _surest(claims, bases) for root, claims in by_root.items()}
    members = tuple(_with_step(match) for root, claims in chosen.items() if root for match in claims)
    top = chosen.get("", [])
    if len(top) > 1:
        return Detection(tuple(ordered), None, tuple(top), members)
    return Detection(tuple(ordered), top[0] if top else None, (), members)


def _is_inside(path: str, wholes: Collection[str]) -> bool:
    """Return True if a file lies in a claimed directory."""
    folder = path
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        if folder in wholes or "" in wholes:
            return True
    return False


def _with_step(match: FormatMatch) -> FormatMatch:
    """Return the claim with its path's step, if it lacks one."""
    from ckpt_core.layouts.step_names import step_of_path

    return match if match.step is not None else replace(match, step=step_of_path(match.root))


def _surest(claims: Sequence[FormatMatch], bases: dict[str, str | None]) -> list[FormatMatch]:
    """Return the claim that holds on one root.

    Several where they are of equal weight. A file that belongs to others is no checkpoint by itself, however sure its
    own format is of it.
    """
    claims = [match for match in claims if match.root in match.files] or claims
    refined = {ancestor for match in claims for ancestor in _ancestors(match.format, bases)}
    # Where bases go round in a circle, each refines the other, and nothing is left.
    left = [match for match in claims if match.format not in refined] or list(claims)
    best = max(match.confidence for match in left)
    top = [match for match in left if match.confidence == best]
    return top if len({match.format for match in top}) > 1 else top[:1]


def _ancestors(name: str, bases: dict[str, str | None]) -> list[str]:
    ancestors: list[str] = []
    base = bases.get(name)
    while base is not None and base not in ancestors:
        ancestors.append(base)
        base = bases.get(base)
    return ancestors
