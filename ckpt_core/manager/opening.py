"""Opens a claim through the owner of its format.

`load` begins here, and any search for the newest whole checkpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import marked, option
from ckpt_core.errors import (
    CkptError,
    CorruptError,
    FormatError,
    PluginError,
    UnsafeContentError,
    UnsupportedFormatError,
    UsageError,
)
from ckpt_core.log import Logger
from ckpt_core.manager.options import checked_options, own_options, readable_options
from ckpt_core.manager.parts import is_itself, match_of_part
from ckpt_core.reading.checkpoints import OpenPart, StoredCheckpoint
from ckpt_core.schema.access import Files
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.formats import FormatMatch, LoadRequest, Part
from ckpt_core.schema.side_files.reserved_names import SYNTHESIZED, TAINT, TAINTED_FILE

if TYPE_CHECKING:
    from ckpt_core.hookspecs import Plugins

_log = Logger(__name__)


def open_match(
    manager: "Plugins",
    files: Files,
    match: FormatMatch,
    options: Mapping[str, Any] | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    lenient: bool = False,
) -> StoredCheckpoint:
    """Open the checkpoint of a claim, reading its headers.

    Args:
        manager: The plugin manager, which knows the format's owner.
        files: The listing whose root the claim is about.
        match: The claim.
        options: Options of the format or of its parts, as typed; each goes to all that read with it.
        hints: What the search was narrowed with.
        lenient: Go on without a part of a nested layout that cannot be opened; the manifest says which as an ERROR.

    Raises:
        UsageError: An option is not one of the format's, nor of any of its parts.
        UnsupportedFormatError: The format is recognised and cannot be read.
    """
    if match.problem is not None:
        raise UnsupportedFormatError(f"{files.location}: {match.problem}", code="CK016")
    _log.info("%s: opened as %s (%s)", files.location, match.format, match.evidence)
    checked = checked_options(manager, match.format, own_options(manager, files, match, options or {}))
    checkpoint = manager.hooks.load(files=files, match=match, request=LoadRequest(checked, hints or {}))
    if not isinstance(checkpoint, StoredCheckpoint):
        raise UnsupportedFormatError(f"{files.location}: format {match.format} cannot be read yet")
    if match.parts:
        checkpoint = with_parts(manager, checkpoint, match.parts, options=options, lenient=lenient)
    if SYNTHESIZED in files.entries:
        from ckpt_core.schema.side_files.synthesized import synthesized_roles

        roles = (*synthesized_roles(files), *checkpoint.manifest.roles)
        checkpoint.manifest = replace(checkpoint.manifest, roles=roles)
    _taint(checkpoint, files)
    return checkpoint


def _taint(checkpoint: StoredCheckpoint, files: Files) -> None:
    """Move the taint from the content's metadata to the manifest.

    Written anew, the tainted tensors are under other names.
    """
    metadata = checkpoint.manifest.metadata
    if TAINT not in metadata and TAINTED_FILE not in files.entries:
        return
    from ckpt_core.schema.side_files.taint import of_files, of_text

    tainted = dict(checkpoint.manifest.tainted)
    if TAINT in metadata:
        tainted |= of_text(metadata[TAINT], path=str(files.location))
    left = {key: value for key, value in metadata.items() if key != TAINT}
    checkpoint.manifest = replace(checkpoint.manifest, metadata=left, tainted=tainted | of_files(files))


def with_parts(
    manager: "Plugins",
    own: StoredCheckpoint,
    parts: Sequence[Part],
    *,
    options: Mapping[str, Any] | None = None,
    lenient: bool = False,
) -> StoredCheckpoint:
    """Join a checkpoint with the parts that its claim names.

    Args:
        manager: The plugin manager, which knows the owners.
        own: What the owner of the outer layout opened.
        parts: Where its parts are.
        options: What was asked for; each part gets the options that it reads with. One that refuses their values is
            opened without, with a WARNING finding, where another takes them.
        lenient: Go on without a part that is broken or of no known format; it becomes an ERROR finding.

    Raises:
        FormatError: A part cannot be opened; the message begins with where it is.
        UsageError: Every part that an option is for refuses its value.
    """
    from ckpt_core.reading.nested import UnopenedPart, joined, relocate  # most checkpoints have no parts

    open_parts: list[OpenPart] = []
    refused: list[tuple[OpenPart, UsageError]] = []
    unopened: list[UnopenedPart] = []
    for part in parts:
        base = part.root.rpartition("/")[0] if part.root in own.files.entries else part.root
        try:
            opened, refusal = _open(manager, own, part, base, options or {}, lenient=lenient)
            open_parts.append(opened)
            refused += [(opened, refusal)] if refusal is not None else []
        except CkptError as error:
            located = relocate(error, part.root if error.path is None else base)
            if not lenient or isinstance(error, UnsafeContentError) or not isinstance(error, FormatError):
                raise located from error
            unopened.append(UnopenedPart(part, located))
    if refused and not any(opened.options for opened in open_parts):
        raise relocate(refused[0][1], refused[0][0].base)
    whole = joined(own, open_parts, unopened) if parts else own
    findings = (*whole.manifest.findings, *_refusals(refused, options or {}))
    whole.manifest = replace(whole.manifest, findings=findings)
    return whole


def _open(
    manager: "Plugins",
    own: StoredCheckpoint,
    part: Part,
    base: str,
    options: Mapping[str, Any],
    *,
    lenient: bool,
) -> tuple[OpenPart, UsageError | None]:
    """Open a part with the options that it reads with.

    It is opened without them where it refuses their values, and the refusal is returned as well.
    """
    below = own.files.below(part.root)
    if not below.entries:
        raise CorruptError("a part of this checkpoint, and nothing is there; copy it again", code="CK019")
    match = match_of_part(manager, below, part)
    if is_itself(match, part, own.match):
        raise PluginError(f"format {match.format}: claims to be a part of itself")
    readable = readable_options(manager, below, match) if options else ()
    known = {name: value for name, value in options.items() if name in readable}
    try:
        return OpenPart(part, base, open_match(manager, below, match, known, lenient=lenient), known), None
    except UsageError as error:
        if not known:
            raise
        return OpenPart(part, base, open_match(manager, below, match, lenient=lenient)), error


def _refusals(refused: Sequence[tuple[OpenPart, UsageError]], options: Mapping[str, Any]) -> Iterator[Finding]:
    flags = ", ".join(option(name, value) for name, value in options.items())
    for opened, error in refused:
        message = f"{opened.part.root}: opened without {flags}, which other parts have: {marked(error.message)}"
        yield Finding("CK023", Severity.WARNING, message, opened.part.root)
