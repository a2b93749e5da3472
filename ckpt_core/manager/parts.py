"""The parts of a nested layout, each opened through its own format's owner, so that no plugin imports another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core.errors import (
    AmbiguousFormatError,
    CkptError,
    CorruptError,
    FormatError,
    PluginError,
    UnsafeContentError,
    UnsupportedFormatError,
)
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.joining import OpenPart, UnopenedPart, joined, relocate, relocated
from ckpt_core.schema.formats import Confidence, FormatMatch, Part

if TYPE_CHECKING:
    from ckpt_core.manager.plugin_manager import CkptPluginManager
    from ckpt_core.schema.access import Checkpoint, Files
    from ckpt_core.schema.findings import Finding, VerifyRequest


def with_parts(
    manager: "CkptPluginManager", own: "StoredCheckpoint", parts: Sequence[Part], *, lenient: bool = False
) -> "StoredCheckpoint":
    """A checkpoint joined with the parts that its claim names.

    Args:
        manager: The plugin manager, which knows the owners.
        own: What the owner of the outer layout opened.
        parts: Where its parts are.
        lenient: Go on without a part that is broken or of no known format; it becomes an ERROR finding.

    Raises:
        FormatError: A part cannot be opened; the message begins with where it is.
    """
    found: list[OpenPart] = []
    unopened: list[UnopenedPart] = []
    for part in parts:
        base = part.root.rpartition("/")[0] if part.root in own.files.entries else part.root
        try:
            found.append(OpenPart(part, base, _open(manager, own, part, lenient=lenient)))
        except CkptError as error:
            located = relocate(error, part.root if error.path is None else base)
            if not lenient or isinstance(error, UnsafeContentError) or not isinstance(error, FormatError):
                raise located from error
            unopened.append(UnopenedPart(part, located))
    return joined(own, found, unopened) if parts else own


def verify_parts(
    manager: "CkptPluginManager", checkpoint: "Checkpoint | None", request: "VerifyRequest"
) -> "list[Finding]":
    """What the owners of the parts find; not what core checks of any manifest, which it does of the whole."""
    if not isinstance(checkpoint, StoredCheckpoint) or not checkpoint.parts:
        return []
    caller = manager.subset_hook_caller("verify", remove_plugins=[manager.get_plugin("core.checks")])
    asked = replace(request, options={}, profile=None)
    findings: list[Finding] = []
    for opened in checkpoint.parts:
        report = caller(files=opened.checkpoint.files, checkpoint=opened.checkpoint, request=asked)
        findings += [relocated(finding, opened.base) for finding in report.findings]
    return findings


def _open(manager: "CkptPluginManager", own: StoredCheckpoint, part: Part, *, lenient: bool) -> StoredCheckpoint:
    from ckpt_core.manager.opening import open_match

    below = own.files.below(part.root)
    if not below.entries:
        raise CorruptError("a part of this checkpoint, and nothing is there; copy it again", code="CK019")
    match = _match(manager, below, part)
    if match.format == own.match.format and len(below.entries) == len(own.files.entries):
        raise PluginError(f"format {match.format}: claims to be a part of itself")
    return open_match(manager, below, match, lenient=lenient)


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
