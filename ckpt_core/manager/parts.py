"""The parts of a nested layout, each opened through its own format's owner, so that no plugin imports another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import (
    AmbiguousFormatError,
    CkptError,
    CorruptError,
    FormatError,
    PluginError,
    UnsafeContentError,
    UnsupportedFormatError,
    UsageError,
)
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.nested import OpenPart, UnopenedPart, in_whole, joined, relocate
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.formats import Confidence, FormatMatch, Part
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.manager.plugin_manager import CkptPluginManager
    from ckpt_core.schema.access import Checkpoint, Files
    from ckpt_core.schema.findings import VerifyRequest


def with_parts(
    manager: "CkptPluginManager",
    own: StoredCheckpoint,
    parts: Sequence[Part],
    *,
    options: Mapping[str, Any] | None = None,
    lenient: bool = False,
) -> StoredCheckpoint:
    """A checkpoint joined with the parts that its claim names.

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
    found: list[OpenPart] = []
    refused: list[tuple[OpenPart, UsageError]] = []
    unopened: list[UnopenedPart] = []
    for part in parts:
        base = part.root.rpartition("/")[0] if part.root in own.files.entries else part.root
        try:
            opened, refusal = _open(manager, own, part, base, options or {}, lenient=lenient)
            found.append(opened)
            refused += [(opened, refusal)] if refusal is not None else []
        except CkptError as error:
            located = relocate(error, part.root if error.path is None else base)
            if not lenient or isinstance(error, UnsafeContentError) or not isinstance(error, FormatError):
                raise located from error
            unopened.append(UnopenedPart(part, located))
    if refused and not any(opened.options for opened in found):
        raise relocate(refused[0][1], refused[0][0].base)
    whole = joined(own, found, unopened) if parts else own
    findings = (*whole.manifest.findings, *_refusals(refused, options or {}))
    whole.manifest = replace(whole.manifest, findings=findings)
    return whole


def readable_options(manager: "CkptPluginManager", files: "Files", match: FormatMatch) -> set[str]:
    """Names of the options with which the format of a claim is read, or that of any of its parts."""
    names = {option.name for option in manager.format(match.format).options if option.reads}
    for part in match.parts:
        below = files.below(part.root)
        try:
            found = _match(manager, below, part)
        except FormatError:
            continue  # opening the part says what is wrong with it
        if not _is_itself(found, part, match):
            names |= readable_options(manager, below, found)
    return names


def verify_parts(
    manager: "CkptPluginManager", checkpoint: "Checkpoint | None", request: "VerifyRequest"
) -> "list[Finding]":
    """What the owners of the parts find; not what core checks of any manifest, which it does of the whole."""
    if not isinstance(checkpoint, StoredCheckpoint) or not checkpoint.parts:
        return []
    caller = manager.subset_hook_caller("verify", remove_plugins=[manager.get_plugin("core.checks")])
    findings: list[Finding] = []
    for opened in checkpoint.parts:
        asked = replace(request, options=opened.options)
        report = caller(files=opened.checkpoint.files, checkpoint=opened.checkpoint, request=asked)
        findings += [in_whole(finding, opened) for finding in report.findings]
    return findings


def _open(
    manager: "CkptPluginManager",
    own: StoredCheckpoint,
    part: Part,
    base: str,
    options: Mapping[str, Any],
    *,
    lenient: bool,
) -> tuple[OpenPart, UsageError | None]:
    """A part with the options that it reads with, or without them, and what it says against them."""
    from ckpt_core.manager.opening import open_match

    below = own.files.below(part.root)
    if not below.entries:
        raise CorruptError("a part of this checkpoint, and nothing is there; copy it again", code="CK019")
    match = _match(manager, below, part)
    if _is_itself(match, part, own.match):
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
    flags = ", ".join(f"--{name} {value}" for name, value in options.items())
    for opened, error in refused:
        message = f"{opened.part.root}: opened without {flags}, which other parts have: {error.message}"
        yield Finding("CK023", Severity.WARNING, printable(message), opened.part.root)


def _is_itself(match: FormatMatch, part: Part, whole: FormatMatch) -> bool:
    """Whether a part would be opened as the whole is, for ever: one further down has shorter paths each time."""
    return match.format == whole.format and not part.root


def _match(manager: "CkptPluginManager", below: "Files", part: Part) -> FormatMatch:
    detection = manager.hooks.detect_format(files=below)
    if part.format is not None:
        manager.format(part.format)
        claims = [match for match in detection.matches if match.format == part.format and not match.root]
        return claims[0] if claims else FormatMatch(part.format, Confidence.POSSIBLE, "a part of a nested layout")
    if detection.best is not None:
        return detection.best
    names = ", ".join(sorted({match.format for match in detection.rivals}))
    if names:
        raise AmbiguousFormatError(f"equally claimed by {names}; open it by itself, with --format")
    raise UnsupportedFormatError("no installed format recognises this part; run ckpt formats to see which there are")
