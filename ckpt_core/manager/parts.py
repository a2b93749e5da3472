"""Finds and verifies the parts of a nested layout.

Each goes through its own format's owner, so that no plugin imports another.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core.arguments import argument
from ckpt_core.errors import (
    AmbiguousFormatError,
    UnsupportedFormatError,
)
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.formats import Confidence, FormatMatch, Part

if TYPE_CHECKING:
    from ckpt_core.hookspecs import Plugins
    from ckpt_core.schema.access import Checkpoint, Files
    from ckpt_core.schema.verification import VerifyRequest


def verify_parts(manager: "Plugins", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "list[Finding]":
    """Return the findings of the parts' owners.

    Core's checks are left out, since they run on the manifest of the whole.
    """
    if not isinstance(checkpoint, StoredCheckpoint) or not checkpoint.parts:
        return []
    from ckpt_core.reading.nested import in_whole

    caller = manager.subset_hook_caller("verify", remove_plugins=[manager.get_plugin("core.checks")])
    findings: list[Finding] = []
    for opened in checkpoint.parts:
        asked = replace(request, options=opened.options)
        report = caller(files=opened.checkpoint.files, checkpoint=opened.checkpoint, request=asked)
        findings += [in_whole(finding, opened) for finding in report.findings]
    return findings


def is_itself(match: FormatMatch, part: Part, whole: FormatMatch) -> bool:
    """Return True if a part would open as the whole.

    That would go on for ever; a part further down has shorter paths each time.
    """
    return match.format == whole.format and not part.root


def match_of_part(manager: "Plugins", below: "Files", part: Part) -> FormatMatch:
    detection = manager.hooks.detect_format(files=below)
    if part.format is not None:
        manager.format(part.format)
        claims = [match for match in detection.matches if match.format == part.format and not match.root]
        return claims[0] if claims else FormatMatch(part.format, Confidence.POSSIBLE, "a part of a nested layout")
    if detection.best is not None:
        return detection.best
    names = ", ".join(sorted({match.format for match in detection.rivals}))
    if names:
        raise AmbiguousFormatError(f"equally claimed by {names}; open it by itself, with {argument('format')}")
    raise UnsupportedFormatError("no installed format recognises this part; run ckpt formats to see which there are")
