"""Repair: try what plugins propose, then write it.

It is tried on a listing in memory first, and written as a copy or in place.

A plan is verified by the readers of the format before anything is done, and what was done is verified again before it
counts. What does not verify cleaner than before is not done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import CkptError, CorruptError, FormatError, UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.schema.repairs import RepairRequest
from ckpt_core.schema.verification import Depth, VerifyRequest, depth_named
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.repairing.overlay import OverlaidFiles
from ckpt_core.storage.repairing.places import InSomePlace, place_of
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.load import OWN_CHECKS, Place, find
from ckpt_core.verbs.locate import locate
from ckpt_core.verbs.reference import Destination, Reference, names_of, profile_of, refuse_version, writable_of
from ckpt_core.verbs.repair_plan import Repair, errors_of, propose, verified

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress
    from ckpt_core.schema.roles import Profile


@checked()
def repair(
    ref: Reference,
    *,
    output: Destination | None = None,
    in_place: bool = False,
    accept_loss: bool = False,
    accept_damage: bool = False,
    force: bool = False,
    depth: Depth | str = Depth.LAYOUT,
    profile: "Profile | str | None" = None,
    without: Sequence[str] = (),
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: "Progress | None" = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> Repair:
    """Repair a checkpoint, or say what a repair would do.

    Without `output` and `in_place` nothing is written.

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
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: See `load`.

    Raises:
        UsageError: Both a copy and a change in place are asked for, or the place holds several checkpoints.
        UnsupportedFormatError: A change in place of what is neither on a disk nor in a store that is written to.
        LockedError: Another process is writing there.
        CorruptError: What was written does not verify as planned, or what was to be copied does not match a checksum
            or seal; it was taken back, or never named.
        CkptError: See `verify`; and what writing raises, after which nothing is changed.
    """
    if output is not None and in_place:
        raise UsageError("a repaired copy, or a change in place: one of the two")
    copy_to = None if output is None else writable_of(output, "output")
    purpose = None if profile is None else profile_of(profile)
    request = VerifyRequest(depth_named(depth), dict(options or {}), purpose, names_of(without))
    wish = RepairRequest(accept_loss, dict(options or {}))

    def found() -> Place:
        place = find(ref, hints=hints, format=format, manager=manager, checks=OWN_CHECKS)
        if place.match is None:
            place.open()  # says which checkpoints there are
        return place

    if not in_place:
        place = found()
        planned, files = propose(place, request, wish, progress=progress)
        if copy_to is None or not planned.plan.actions:
            return planned
        from ckpt_core.verbs.repaired_copy import write_copy

        return write_copy(planned, files, copy_to, request, accept_damage=accept_damage, force=force, progress=progress)
    there = _where(ref, hints, manager)
    with there.held():
        if there.interrupted():
            there.undo()
        place = found()
        there.require(place.files)
        planned, files = propose(place, request, wish, progress=progress)
        return _change(planned, files, there, request) if planned.plan.actions else planned


@checked()
def undo_repair(ref: Reference, *, manager: CkptPluginManager | None = None) -> list[str]:
    """Take back the last repair in place, finished or begun.

    Returns the paths that are as they were.

    Raises:
        CheckpointNotFoundError: There is no backup.
        OverwriteError: A file was changed after the repair.
        LockedError: Another process is writing there.
    """
    there = _where(ref, None, manager)
    with there.held():
        return there.undo()


def _where(ref: Reference, hints: Mapping[str, object] | None, manager: CkptPluginManager | None) -> InSomePlace:
    """Return the location of a ref.

    What a stopped repair has left need not be of any format any more.
    """
    try:
        files = find(ref, hints=hints, manager=manager, checks=OWN_CHECKS).files
    except FormatError:
        files = list_files(locate(ref, hints=hints, manager=manager).require().url)
    refuse_version(files.location.url)
    return place_of(files)


def _change(planned: Repair, files: OverlaidFiles, there: InSomePlace, request: VerifyRequest) -> Repair:
    """Carry a plan out in place, and verify the outcome.

    It is taken back where it is not as planned.
    """
    kept = there.backups()
    try:
        backup = there.apply(files)
        after = verified(planned.place, list_files(planned.place.files.location.url), request)
        if errors_of(after.report) > errors_of(planned.after):
            raise CorruptError(f"{planned.place.files.location}: does not verify as planned; everything was taken back")
        there.confirm(backup)
    except CkptError:
        if there.backups() != kept:
            there.undo()
        raise
    return replace(planned, after=after.report, backup=backup)
