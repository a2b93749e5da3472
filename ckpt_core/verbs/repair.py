"""Repair: what plugins propose to mend, tried on a listing in memory first, then written as a copy or in place.

A plan is verified by the readers of the format before anything is done, and what was done is verified again before it
counts. What does not verify cleaner than before is not done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ckpt_core.builtin.seals.repair import entered
from ckpt_core.errors import CkptError, CorruptError, FormatError, UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Depth, Finding, Severity, VerifyReport, VerifyRequest
from ckpt_core.schema.repairs import Irreparable, RepairAction, RepairPlan, RepairRequest
from ckpt_core.schema.side_files.synthesized import marks
from ckpt_core.storage.files.listing import list_files
from ckpt_core.storage.repairing.in_place import InPlace, is_interrupted
from ckpt_core.storage.repairing.overlay import MendedFiles, mended
from ckpt_core.verbs.locate import locate
from ckpt_core.verbs.opening import OWN_CHECKS, Place, find
from ckpt_core.verbs.verify import Verification, verify_place

if TYPE_CHECKING:
    from ckpt_core.schema.profiles import Profile
    from ckpt_core.schema.progress import Progress

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
        backup: The folder with what was replaced; None where nothing was changed in place.
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


def repair(
    ref: str,
    *,
    output: str | None = None,
    in_place: bool = False,
    accept_loss: bool = False,
    accept_damage: bool = False,
    force: bool = False,
    depth: Depth = Depth.LAYOUT,
    profile: "Profile | None" = None,
    without: Sequence[str] = (),
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: "Progress | None" = None,
    manager: CkptPluginManager | None = None,
) -> Repair:
    """Mend a checkpoint; without `output` and `in_place`, only say what would be done.

    Args:
        ref: See `load`.
        output: Write a repaired copy there, whole or not at all; the checkpoint itself is not touched.
        in_place: Change the checkpoint itself, with a backup that `undo_repair` restores from.
        accept_loss: Do also what invents or loses something. What is invented stays marked, and never passes as saved.
        accept_damage: Write the copy although bytes do not match a checksum or seal; it is marked as tainted.
        force: Replace what is at `output`.
        depth: How much is read to find what is wrong.
        profile: See `verify`: what it lacks for this purpose is said too.
        without: See `verify`.
        hints: See `load`.
        format: See `load`.
        options: See `load`.
        progress: Told of the bytes that are read or written.
        manager: See `load`.

    Raises:
        UsageError: Both a copy and a change in place are asked for, or the place holds several checkpoints.
        UnsupportedFormatError: A change in place of what is not on a local disk.
        LockedError: Another process is writing there.
        CorruptError: What was written does not verify as planned, or what was to be copied does not match a checksum
            or seal; it was taken back, or never named.
        CkptError: See `verify`; and what writing raises, after which nothing is changed.
    """
    if output is not None and in_place:
        raise UsageError("a repaired copy, or a change in place: one of the two")
    request = VerifyRequest(depth, dict(options or {}), profile, tuple(without))
    wish = RepairRequest(accept_loss, dict(options or {}))

    def found() -> Place:
        place = find(ref, hints=hints, format=format, manager=manager, checks=OWN_CHECKS)
        if place.match is None:
            place.open()  # says which checkpoints there are
        return place

    if not in_place:
        place = found()
        planned, files = propose(place, request, wish, progress=progress)
        if output is None or not planned.plan.actions:
            return planned
        from ckpt_core.verbs.repaired_copy import write_copy

        return write_copy(planned, files, output, request, accept_damage=accept_damage, force=force, progress=progress)
    disk = _on_disk(ref, hints, manager)
    with disk.held():
        if disk.interrupted():
            disk.undo()
        place = found()
        disk.require(place.files)
        planned, files = propose(place, request, wish, progress=progress)
        return _change(planned, files, disk, request) if planned.plan.actions else planned


def undo_repair(ref: str, *, manager: CkptPluginManager | None = None) -> list[str]:
    """Take back the last repair that was made in place, or began to be; the paths that are as they were.

    Raises:
        CheckpointNotFoundError: There is no backup.
        OverwriteError: A file was changed after the repair.
        LockedError: Another process is writing there.
    """
    disk = _on_disk(ref, None, manager)
    with disk.held():
        return disk.undo()


def propose(
    place: Place, request: VerifyRequest, wish: RepairRequest, *, progress: "Progress | None" = None
) -> tuple[Repair, MendedFiles]:
    """The plan for a place, and its listing as it would be; nothing is written.

    What is mended may show what else is wrong, so the plugins are asked again until they have nothing to add.
    """
    first = now = verify_place(place, request, progress=progress)
    done: list[RepairAction] = []
    files = mended(place.files, ())
    for _ in range(_ROUNDS):
        plan = place.manager.hooks.repair(files=files, report=now.report, request=wish)
        if not plan.actions:
            break
        trial = mended(files, _with_marks(files, plan.actions))
        then = verified(place, trial, request)
        if not _is_cleaner(then.report, now.report):
            plan = replace(plan, beyond=(*plan.beyond, _USELESS))
            break
        files, now, done = trial, then, [*done, *plan.actions]
    files, done, now = _sealed(place, files, done, now, request)
    full = replace(plan, actions=tuple(done))
    stopped = is_interrupted(place.files)
    return Repair(place, first.report, now.report, full, tuple(_remaining(now, full)), interrupted=stopped), files


def _on_disk(ref: str, hints: Mapping[str, object] | None, manager: CkptPluginManager | None) -> InPlace:
    """Where a ref lies. What a stopped repair has left need not be of any format any more."""
    try:
        return InPlace(find(ref, hints=hints, manager=manager, checks=OWN_CHECKS).files)
    except FormatError:
        return InPlace(list_files(locate(ref, hints=hints, manager=manager).require().url))


def verified(place: Place, files: Files, request: VerifyRequest) -> Verification:
    """The same question about another listing, detected anew.

    What has become a folder of checkpoints, as by a pointer that is right again, has nothing wrong itself.
    """
    found = redetected(place, files)
    return (
        Verification(found, VerifyReport(depth=request.depth)) if found.match is None else verify_place(found, request)
    )


def redetected(place: Place, files: Files) -> Place:
    """The place with another listing, of the format that it had where that still claims it."""
    detection = place.manager.hooks.detect_format(files=files)
    asked = next((m for m in detection.matches if place.match and m.format == place.match.format and not m.root), None)
    match = asked or detection.best or (None if detection.members else place.match)
    return place._replace(files=files, detection=detection, match=match)


def errors_of(report: VerifyReport) -> int:
    return sum(finding.severity is Severity.ERROR for finding in report.findings)


def _is_cleaner(then: VerifyReport, now: VerifyReport) -> bool:
    """Whether there are fewer errors, or as many and fewer warnings; what came anew counts too."""
    return _weight(then) < _weight(now)


def _weight(report: VerifyReport) -> tuple[int, int]:
    warnings = sum(finding.severity is Severity.WARNING for finding in report.findings)
    return errors_of(report), warnings


def _with_marks(files: MendedFiles, actions: Sequence[RepairAction]) -> list[RepairAction]:
    """The actions, and the note of what they invent, which goes with the files from then on."""
    invented = {label: how for action in actions for label, how in action.invents.items()}
    return [*actions, marks(files, invented)] if invented else list(actions)


def _sealed(
    place: Place, files: MendedFiles, done: list[RepairAction], now: Verification, request: VerifyRequest
) -> tuple[MendedFiles, list[RepairAction], Verification]:
    """With the seal, where there is one, brought up to what was mended."""
    more = entered(place.files, done, files) if done else []
    if not more:
        return files, done, now
    sealed = mended(files, more)
    return sealed, [*done, *more], verified(place, sealed, request)


def _remaining(now: Verification, plan: RepairPlan) -> list[Irreparable]:
    """Each error that is left, with what a plugin says of it, else with its own hint; then what was never saved."""
    left = [f for f in now.report.findings if f.severity is Severity.ERROR]
    found = [_reason(finding, plan) for finding in left]
    known = {(one.reason, one.path) for one in found}
    found += [one for one in plan.beyond if (one.reason, one.path) not in known]
    return list(dict.fromkeys([*found, *_never_saved(now)]))


def _reason(finding: Finding, plan: RepairPlan) -> Irreparable:
    said = [one for one in plan.beyond if one.path == finding.path and one.code in (None, finding.code)]
    if said:  # of that very finding before what is of any about the file
        return replace(max(said, key=lambda one: one.code is not None), code=finding.code)
    withheld = any(action.path == finding.path for action in plan.withheld)
    why = "what could be done needs --accept-loss" if withheld else "nothing in this checkpoint can make it again"
    return Irreparable(f"{why}; {finding.hint}" if finding.hint else why, finding.code, finding.path)


def _never_saved(now: Verification) -> list[Irreparable]:
    from ckpt_core.schema.profiles import NEEDS, Presence

    if now.checkpoint is None:
        return []
    why = "is absent: it cannot be recovered from anything else, and is not made up"
    return [
        Irreparable(f"{role.label} {why}", None, role.where or None)
        for role in now.checkpoint.manifest.roles
        if role.presence is Presence.ABSENT and (role.needed_for is not None or role.kind in NEEDS)
    ]


def _change(planned: Repair, files: MendedFiles, disk: InPlace, request: VerifyRequest) -> Repair:
    """Carry a plan out where the checkpoint is, verify that, and take it back where it is not as planned."""
    kept = disk.backups()
    try:
        backup = disk.apply(files)
        after = verified(planned.place, list_files(planned.place.files.location.url), request)
        if errors_of(after.report) > errors_of(planned.after):
            raise CorruptError(f"{planned.place.files.location}: does not verify as planned; everything was taken back")
        disk.confirm(backup)
    except CkptError:
        if disk.backups() != kept:
            disk.undo()
        raise
    return replace(planned, after=after.report, backup=backup)
