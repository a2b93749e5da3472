"""A repaired copy: staged beside its destination, verified there, sealed, and named whole or not at all.

Files that are not changed are copied, never linked: a later write into one of the two must not reach the other.
"""

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import ckpt_core
from ckpt_core.errors import CorruptError
from ckpt_core.reading.proof import read_back
from ckpt_core.schema.findings import Depth, Finding, Severity, VerifyRequest, sorted_findings
from ckpt_core.schema.locations import Kind
from ckpt_core.schema.repairs import Irreparable
from ckpt_core.schema.seals import FileSeal, Seal
from ckpt_core.schema.text import printable
from ckpt_core.storage.copies import copy_files
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.overlay import MendedFiles
from ckpt_core.storage.sealing import read_seal
from ckpt_core.storage.targets import LocalTarget, open_target, refuse_overlap
from ckpt_core.verbs.repair import Repair, errors_of, verified
from ckpt_core.verbs.verify import Verification

if TYPE_CHECKING:
    from ckpt_core.schema.progress import Progress


def write_copy(
    planned: Repair,
    files: MendedFiles,
    ref: str,
    request: VerifyRequest,
    *,
    force: bool,
    progress: "Progress | None",
) -> Repair:
    """Write the checkpoint as a plan mends it.

    Raises:
        OverwriteError: Something is there and `force` is not set, or it is the checkpoint itself.
        CorruptError: What was written does not verify as planned; it was not named.
    """
    place = planned.place
    if "://" not in place.files.location.url:
        refuse_overlap(ref, {place.files.location.url: "the checkpoint itself"})
    format = place.match.format if place.match is not None else ""
    with open_target(ref, format=format, kind=place.files.location.kind, replace=force) as target:
        copied = copy_files(files, _folder(target), progress=progress)
        staged = verified(place, list_files(target.staged), request)
        if errors_of(staged.report) > errors_of(planned.after):
            raise CorruptError(f"{target.location}: does not verify as planned; nothing was committed")
        damage = _contradicted(planned, files, copied)
        target.commit(_seal_of(staged, files, format))
    report = replace(planned.after, findings=sorted_findings([*planned.after.findings, *damage]))
    more = tuple(Irreparable(_DAMAGED, finding.code, finding.path) for finding in damage)
    return replace(planned, after=report, remaining=(*planned.remaining, *more), written=str(target.location))


_DAMAGED = "the content is not what was sealed: damage; copy it again from where the checkpoint came from"


def _folder(target: LocalTarget) -> str:
    return os.path.dirname(target.staged) if target.location.kind is Kind.FILE else target.staged


def _contradicted(planned: Repair, files: MendedFiles, copied: dict[str, FileSeal]) -> list[Finding]:
    """SL002 for each file that was copied and is not what its seal says; a deeper check has said so already."""
    seal = None if planned.after.depth >= Depth.BYTES else _old_seal(files)
    if seal is None:
        return []
    return [
        Finding("SL002", Severity.ERROR, f"{printable(path)}: is not what was sealed", path)
        for path, file in seal.files.items()
        if path in copied and copied[path].size == file.size and copied[path] != file
    ]


def _seal_of(staged: Verification, files: MendedFiles, format: str) -> Seal | None:
    """The seal that was there; a new one for what verifies; none for what does not, since it would look proved."""
    seal = _old_seal(files)
    if seal is not None or staged.checkpoint is None or not staged.report.ok:
        return seal
    found = read_back(staged.checkpoint)
    return Seal(
        format=format,
        files=found.files,
        tensors=found.by_component(),
        components=found.components(),
        provenance={"ckpt_core": ckpt_core.__version__, "sealed": "by a repair"},
    )


def _old_seal(files: MendedFiles) -> Seal | None:
    try:
        return read_seal(files)
    except CorruptError:
        return None  # which the report says
