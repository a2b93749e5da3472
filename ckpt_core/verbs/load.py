"""Load: go from a ref to an open checkpoint.

Locate, list, detect, load: every verb that reads begins here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ckpt_core.arguments import argument
from ckpt_core.errors import (
    AmbiguousFormatError,
    CheckpointNotFoundError,
    CkptError,
    CorruptError,
    ReplacedError,
    UsageError,
)
from ckpt_core.log import Logger
from ckpt_core.manager.opening import open_match
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.access import Checkpoint, Files
from ckpt_core.schema.formats import Confidence, Detection, FormatMatch
from ckpt_core.schema.locations import Location, LocationKind, Query, Resolution
from ckpt_core.schema.text import printable
from ckpt_core.storage.checking.checked_files import CheckedFiles
from ckpt_core.storage.files.identity import comes_back
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.listing import files_of, list_files
from ckpt_core.storage.urls import local_path
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.locate import locate
from ckpt_core.verbs.reference import Reference, query_of, stored

_log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks that bytes undergo as they are read.

    Attributes:
        reads: Whether they are at all; not by what walks over all bytes with checks of its own.
        seals: Whether with a seal too; not where that is about to be replaced.
        accept: Go on where something does not hold, and note it.
    """

    reads: bool = True
    seals: bool = True
    accept: bool = False

    def of(self, files: Files) -> Files:
        """The listing with these checks."""
        return CheckedFiles(files, seals=self.seals, accept=self.accept) if self.reads else files


OWN_CHECKS = Checks(reads=False)
"""For what has checks of its own."""


class Place(NamedTuple):
    """A located and listed ref, and what the formats say of it.

    Attributes:
        files: The listing of the checkpoint itself; of a member where the ref picks one.
        match: The claim that holds; None for a container whose members are to be chosen from.
    """

    manager: CkptPluginManager
    resolution: Resolution
    files: Files
    detection: Detection
    match: FormatMatch | None

    def __repr__(self) -> str:
        return f"<Place {self.files.location}: {self.match.format if self.match else 'several checkpoints'}>"

    def open(self, options: Mapping[str, Any] | None = None, *, lenient: bool = False) -> StoredCheckpoint:
        """The checkpoint, its headers read, joined with its nested parts.

        Args:
            options: The format's own options.
            lenient: Make a part that cannot be opened a finding of the manifest, as `verify` reports it.

        Raises:
            UsageError: The place holds several checkpoints, or an option is not one of the format's.
            UnsupportedFormatError: The format is recognised and cannot be read.
        """
        match = self.match
        if match is None:
            raise _choose_member(self.detection, str(self.files.location))
        hints = self.resolution.query.hints
        try:
            with one_moment(self.files, failures_only=True):
                return open_match(self.manager, self.files, match, options, hints=hints, lenient=lenient)
        except CorruptError as error:
            raise (_left_by_name(self.files) or error) from error


def find(
    ref: Reference | None,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    manager: CkptPluginManager | None = None,
    checks: Checks = Checks(),
) -> Place:
    """Locate, list and detect.

    Args:
        ref: What to open; see `locate`.
        hints: See `locate`.
        format: Take it for this format, whatever else is claimed.
        manager: The plugin manager; None for the process's own.
        checks: What its bytes are compared with as they are read.

    Raises:
        LocateError: Nothing there, or not reachable.
        AmbiguousFormatError: Two formats claim it equally.
        UnsupportedFormatError: No format claims it.
        CorruptError: It is a pointer, a web page, or empty.
        ReplacedError: It was replaced or removed meanwhile.
    """
    manager = manager or get_plugin_manager()
    query = query_of(ref, hints=hints)
    if isinstance(ref, Checkpoint):
        return _place_of(stored(ref), query, format, manager, checks)
    resolution = locate(query, manager=manager)
    if not resolution.found and _may_come_back(query.ref):
        resolution = locate(query, manager=manager)
    location = resolution.require()
    try:
        files = checks.of(list_files(location.url))
    except CheckpointNotFoundError:
        message = f"{location}: was removed while it was looked at; run it again"
        raise ReplacedError(message, code="MO001") from None
    log_debris(files)
    with one_moment(files, failures_only=True):
        return _place(manager, resolution, location, files, format)


def _place_of(
    checkpoint: StoredCheckpoint, query: Query, format: str | None, manager: CkptPluginManager, checks: Checks
) -> Place:
    """Return the place of an open checkpoint.

    It has the listing that it was opened from, and the claim that it was opened by.

    Raises:
        UsageError: It is to be taken for another format.
        ReplacedError: It was replaced, changed or removed since it was opened.
    """
    match = checkpoint.match
    if format not in (None, match.format):
        raise UsageError(f"{argument('format', format)}: it is open as {match.format}; name its place to take it anew")
    checkpoint.check_unchanged()
    files = checkpoint.files
    while isinstance(files, CheckedFiles):
        files = files.inner
    resolution = Resolution(query, checkpoint.location, ())
    return Place(manager, resolution, checks.of(files), Detection((match,), match), match)


def _may_come_back(ref: str | None) -> bool:
    """Return True if a missing path exists a moment later.

    So it is with one that is being replaced.
    """
    path = None if ref is None else local_path(ref.partition("#")[0])
    return path is not None and comes_back(path)


def _place(
    manager: CkptPluginManager, resolution: Resolution, location: Location, files: Files, format: str | None
) -> Place:
    detection = manager.hooks.detect_format(files=files)
    if location.member is not None:
        member = pick_member(detection, location.member, str(location))
        files = files_of(files, member)
        detection = manager.hooks.detect_format(files=files)
    elif detection.best is None and len(detection.members) == 1:
        files = files_of(files, detection.members[0])
        detection = manager.hooks.detect_format(files=files)
    if format is not None:
        return Place(manager, resolution, files, detection, _as_format(manager, detection, format))
    if detection.rivals:
        names = ", ".join(sorted({match.format for match in detection.rivals}))
        raise AmbiguousFormatError(
            f"{files.location}: equally claimed by {names}; choose one with {argument('format')}"
        )
    if detection.best is None and not detection.members:
        from ckpt_core.codecs.foreign.errors import unknown

        raise unknown(files)
    if detection.best is not None and detection.best.confidence is Confidence.POSSIBLE:
        _refuse_impostor(files)
    return Place(manager, resolution, files, detection, detection.best)


def _left_by_name(files: Files) -> CkptError | None:
    """Return FM003 for a damaged file whose name tells why.

    An example is a download under way.
    """
    if files.location.kind is not LocationKind.FILE:
        return None
    from ckpt_core.codecs.foreign.errors import unfinished

    return unfinished(next(iter(files.entries)))


def log_debris(files: Files) -> None:
    """Name what lies in a place and is left aside."""
    for path, what in files.debris.items():
        _log.info("left aside %s: %s", printable(path), what)


def open_checkpoint(
    ref: Reference | None,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
    checks: Checks = Checks(),
) -> StoredCheckpoint:
    """Find and open a checkpoint in one step.

    Where damage is accepted, what has some is tainted then.

    What is open already, and is to be read in no other way, is given back as it is.
    """
    if isinstance(ref, StoredCheckpoint) and not options and checks == Checks():
        find(ref, hints=hints, format=format, manager=manager)
        return ref
    checkpoint = find(ref, hints=hints, format=format, manager=manager, checks=checks).open(options)
    if checks.accept:
        from ckpt_core.reading.damage import note_damage

        note_damage(checkpoint)
    return checkpoint


def member_place(place: Place, match: FormatMatch) -> Place:
    """Return the place of one checkpoint of a container.

    It is detected anew on its own files.
    """
    files = files_of(place.files, match)
    detection = place.manager.hooks.detect_format(files=files)
    return Place(place.manager, place.resolution, files, detection, detection.best or replace(match, root=""))


def pick_member(detection: Detection, member: str, place: str) -> FormatMatch:
    """Return the match of a container's member.

    It is named by its root, or by the last part of it.

    Raises:
        UsageError: There is none of that name, or several.
    """
    members = [match for match in detection.members if match.root == member]
    members = members or [match for match in detection.members if match.root.rpartition("/")[2] == member]
    roots = sorted({match.root for match in members})
    if len(roots) == 1:
        return members[0]
    known = ", ".join(printable(root) for root in sorted({match.root for match in detection.members})[:20]) or "none"
    raise UsageError(f"{place}: no single checkpoint of that name in it; it holds {known}")


def _as_format(manager: CkptPluginManager, detection: Detection, format: str) -> FormatMatch:
    manager.format(format)
    for match in detection.matches:
        if match.format == format and not match.root:
            return match
    return FormatMatch(format, Confidence.POSSIBLE, "asked for by name")


def _refuse_impostor(files: Files) -> None:
    from ckpt_core.codecs.foreign.impostors import impostor

    for path, entry in list(files.entries.items())[:1]:
        error: CkptError | None = impostor(path, files.head(path), entry.size)
        if error is not None:
            raise error


def _choose_member(detection: Detection, place: str) -> UsageError:
    roots = sorted({match.root for match in detection.members})
    shown = ", ".join(printable(root) for root in roots[:10]) + (", …" if len(roots) > 10 else "")
    return UsageError(
        f"{place}: holds {len(roots)} checkpoints ({shown}); name one as {place}#{printable(roots[0])}",
    )


@checked()
def load(
    ref: Reference | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    accept_damage: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
) -> StoredCheckpoint:
    """Open a checkpoint; headers are read, no tensor is.

    Args:
        ref: A path, a URL, a stage name, `REF#member`, a `Path`, a `Query`, or None where hints say enough. An open
            checkpoint is given back as it is, and opened anew where options or `accept_damage` are given.
        hints: What narrows the search.
        format: Take it for this format; None to detect it.
        options: The format's own options.
        accept_damage: Go on where bytes do not match a checksum. Every tensor is read once to find out; those that
            have damage are in `manifest.tainted`, and whatever is written of them stays marked. Without it reading
            such bytes raises CorruptError.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.

    Raises:
        CkptError: One of its kinds says what is missing, broken, unsafe or unsupported.
    """
    return open_checkpoint(
        ref, hints=hints, format=format, options=options, manager=manager, checks=Checks(accept=accept_damage)
    )
