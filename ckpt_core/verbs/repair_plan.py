"""Plans repairs that make a checkpoint verify cleaner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ckpt_core.arguments import argument, marked
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.repairs import Irreparable, RepairAction, RepairPlan, RepairRequest
from ckpt_core.schema.side_files.synthesized import marks
from ckpt_core.schema.verification import VerifyReport, VerifyRequest
from ckpt_core.storage.repairing.overlay import OverlaidFiles, overlaid
from ckpt_core.storage.repairing.places import is_interrupted
from ckpt_core.storage.repairing.seal_update import entered
from ckpt_core.verbs.load import Place
from ckpt_core.verbs.verify import Verification, verify_place

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress


_ROUNDS = 8
"""What is mended may show what else is wrong. No checkpoint has so many things wrong behind each other."""


_USELESS = Irreparable("what was proposed would not make it verify cleaner, and is not done")


@dataclass(frozen=True, slots=True)
class Repair:
    """A plan, and what became of it.

    Attributes:
        place: What it is about.
        before: What was wrong.
        after: What is wrong once the plan is carried out; the same as `before` where there is nothing to do.
        plan: What is to be done, what was withheld, and what the plugins say that nothing can mend.
        remaining: What is wrong afterwards and cannot be mended, each with the reason.
        written: Where the repaired copy is; None where none was written.
        backup: The path or URL of what was replaced; None where nothing was changed in place.
        tainted: Why a tensor of the copy is not what was saved; see `taint`.
        interrupted: Whether an earlier repair in place was stopped, so that what is there now is between two states.
    """

    place: Place
    before: VerifyReport
    after: VerifyReport
    plan: RepairPlan = field(default_factory=RepairPlan)
    remaining: tuple[Irreparable, ...] = ()
    written: str | None = None
    backup: str | None = None
    interrupted: bool = False
    tainted: Mapping[str, str] = field(default_factory=dict)

    @property
    def applied(self) -> bool:
        return self.written is not None or self.backup is not None


def propose(
    place: Place, request: VerifyRequest, wish: RepairRequest, *, progress: "Progress | None" = None
) -> tuple[Repair, OverlaidFiles]:
    """Return the plan for a place, and the listing it makes.

    Nothing is written.

    What is mended may show what else is wrong, so the plugins are asked again until they have nothing to add.
    """
    first = now = verify_place(place, request, progress=progress)
    done: list[RepairAction] = []
    files = overlaid(place.files, ())
    for _ in range(_ROUNDS):
        plan = place.manager.hooks.repair(files=files, report=now.report, request=wish)
        if not plan.actions:
            break
        trial = overlaid(files, _with_marks(files, plan.actions))
        then = verified(place, trial, request)
        if not _is_cleaner(then.report, now.report):
            plan = replace(plan, beyond=(*plan.beyond, _USELESS))
            break
        files, now, done = trial, then, [*done, *plan.actions]
    files, done, now = _sealed(place, files, done, now, request)
    full = replace(plan, actions=tuple(done))
    stopped = is_interrupted(place.files)
    return Repair(place, first.report, now.report, full, tuple(_remaining(now, full)), interrupted=stopped), files


def verified(place: Place, files: Files, request: VerifyRequest) -> Verification:
    """The same question about another listing, detected anew.

    What has become a folder of checkpoints, as by a pointer that is right again, has nothing wrong itself.
    """
    found = redetected(place, files)
    return (
        Verification(found, VerifyReport(depth=request.depth)) if found.match is None else verify_place(found, request)
    )


def redetected(place: Place, files: Files) -> Place:
    """Return the place with another listing.

    Its format stays the one that it had, where that still claims it.
    """
    detection = place.manager.hooks.detect_format(files=files)
    asked = next((m for m in detection.matches if place.match and m.format == place.match.format and not m.root), None)
    match = asked or detection.best or (None if detection.members else place.match)
    return place._replace(files=files, detection=detection, match=match)


def errors_of(report: VerifyReport) -> int:
    return sum(finding.severity is Severity.ERROR for finding in report.findings)


def _is_cleaner(then: VerifyReport, now: VerifyReport) -> bool:
    """Return True if there are fewer errors, or fewer warnings.

    Warnings decide where the errors are as many. What came anew counts too.
    """
    return _weight(then) < _weight(now)


def _weight(report: VerifyReport) -> tuple[int, int]:
    warnings = sum(finding.severity is Severity.WARNING for finding in report.findings)
    return errors_of(report), warnings


def _with_marks(files: OverlaidFiles, actions: Sequence[RepairAction]) -> list[RepairAction]:
    """Return the actions, and the note of what they invent.

    The note goes with the files from then on.
    """
    invented = {label: how for action in actions for label, how in action.invents.items()}
    return [*actions, marks(files, invented)] if invented else list(actions)


def _sealed(
    place: Place, files: OverlaidFiles, done: list[RepairAction], now: Verification, request: VerifyRequest
) -> tuple[OverlaidFiles, list[RepairAction], Verification]:
    """Return the repaired listing with the seal brought up to date.

    The actions that do it and a new verification come along; without a seal all stays as it is.
    """
    more = entered(place.files, done, files) if done else []
    if not more:
        return files, done, now
    sealed = overlaid(files, more)
    return sealed, [*done, *more], verified(place, sealed, request)


def _remaining(now: Verification, plan: RepairPlan) -> list[Irreparable]:
    """Yield each remaining error with the reason why it stays.

    A plugin says why, else the finding's own hint. What was never saved comes last.
    """
    left = [f for f in now.report.findings if f.severity is Severity.ERROR]
    reasons = [_reason(finding, plan) for finding in left]
    known = {(one.reason, one.path) for one in reasons}
    reasons += [one for one in plan.beyond if (one.reason, one.path) not in known]
    return list(dict.fromkeys([*reasons, *_never_saved(now)]))


def _reason(finding: Finding, plan: RepairPlan) -> Irreparable:
    said = [one for one in plan.beyond if one.path == finding.path and one.code in (None, finding.code)]
    if said:  # of that very finding before what is of any about the file
        return replace(max(said, key=lambda one: one.code is not None), code=finding.code)
    withheld = any(action.path == finding.path for action in plan.withheld)
    why = (
        f"what could be done needs {argument('accept_loss', True)}"
        if withheld
        else "nothing in this checkpoint can make it again"
    )
    return Irreparable(f"{why}; {marked(finding.hint)}" if finding.hint else why, finding.code, finding.path)


def _never_saved(now: Verification) -> list[Irreparable]:
    from ckpt_core.schema.profiles import NEEDS
    from ckpt_core.schema.roles import Presence

    if now.checkpoint is None:
        return []
    why = "is absent: it cannot be recovered from anything else, and is not made up"
    return [
        Irreparable(f"{role.label} {why}", None, role.where or None)
        for role in now.checkpoint.manifest.roles
        if role.presence is Presence.ABSENT and (role.needed_for is not None or role.kind in NEEDS)
    ]
