"""Writes a repaired copy like any checkpoint, on disk or in stores.

It is verified before it is named, and sealed.

Files that are not changed are copied, never linked: a later write into one of the two must not reach the other. They
are compared with every checksum that is known of them as they are copied: damage is not carried over in silence. Where
it is accepted, all is read once before, since what is tainted is said in a file of the copy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ckpt_core import knobs
from ckpt_core.errors import CorruptError, FormatError, LoadError
from ckpt_core.reading.damage import note_damage
from ckpt_core.reading.read_back import read_back
from ckpt_core.schema.causes import ALL, DAMAGED
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.repairs import Irreparable
from ckpt_core.schema.side_files.reserved_names import TAINTED_FILE
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.schema.side_files.taint import findings_of
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.schema.verification import VerifyRequest, sorted_findings
from ckpt_core.storage.checking.checked_files import CheckedFiles, refusal
from ckpt_core.storage.repairing.as_it_is import FilesToCopy, plan_of_files
from ckpt_core.storage.repairing.overlay import OverlaidFiles
from ckpt_core.storage.sealing import digests_of, read_seal
from ckpt_core.storage.writing.overlap import refuse_overlap
from ckpt_core.storage.writing.staged_target import StagedTarget
from ckpt_core.storage.writing.targets import open_target
from ckpt_core.verbs.load import Place
from ckpt_core.verbs.repair_plan import Repair, errors_of, redetected, verified
from ckpt_core.verbs.verify import Verification
from ckpt_core.version import __version__

if TYPE_CHECKING:
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Progress


def write_copy(
    planned: Repair,
    files: OverlaidFiles,
    ref: str,
    request: VerifyRequest,
    *,
    accept_damage: bool,
    force: bool,
    progress: "Progress | None",
) -> Repair:
    """Write the checkpoint as a plan mends it.

    Raises:
        OverwriteError: Something is there and `force` is not set, or it is the checkpoint itself.
        CorruptError: Bytes do not match a checksum or seal, which is not accepted, or what was written does not verify
            as planned; it was not named.
    """
    place = planned.place
    refuse_overlap(ref, {place.files.location.url: "the checkpoint itself"})
    format = place.match.format if place.match is not None else ""
    tainted = _taint(place, files, request) if accept_damage else {}
    with open_target(ref, format=format, kind=place.files.location.kind, replace=force) as target:
        checked = CheckedFiles(files, accept=True)
        _opened(place, checked, request)
        target.write(plan_of_files(checked, target, tainted), FilesToCopy(checked, progress))
        wrong = _wrong(checked)
        if wrong and not tainted:
            raise _refused(wrong)
        staged = verified(place, target.listing(), request)
        if errors_of(staged.report) - len(list(findings_of(tainted))) > errors_of(planned.after):
            raise CorruptError(f"{target.location}: does not verify as planned; nothing was committed")
        seal = _seal_of(staged, files, format)
        target.commit(_marked(seal, target, format, tainted) if tainted else seal)
    return _reported(replace(planned, written=str(target.location)), [finding for finding, _, _ in wrong], tainted)


_NOT_CARRIED = ("SL003", "SL005")
"""Of what is not there, and of the seal: the copy has no bytes of either, and shows both as they were."""

_DAMAGED = "the content is not what its checksum or seal says: damage; copy it again from where it came from"


def _opened(place: Place, checked: CheckedFiles, request: VerifyRequest) -> "StoredCheckpoint | None":
    """Return the opened checkpoint, which tells its records' checksums.

    None where it does not open, which the report says.
    """
    try:
        found = redetected(place, checked)
        if found.match is not None:
            opened = found.open(request.options, lenient=True)
            opened.confirm()
            return opened
    except (FormatError, LoadError):
        pass
    checked.expect(())  # the seal is compared in any case
    return None


def _refused(damage: Sequence[tuple[Finding, ByteRange, bool]]) -> CorruptError:
    finding, where, _ = damage[0]
    also = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
    return refusal(finding, where.path, more=f"{also}; nothing was committed")


def _wrong(checked: CheckedFiles) -> list[tuple[Finding, ByteRange, bool]]:
    """Return the mismatches with checksums and seals.

    They are of all bytes that were read.
    """
    checked.finish()
    return [found for found in checked.damage() if found[0].code not in _NOT_CARRIED]


def _taint(place: Place, files: OverlaidFiles, request: VerifyRequest) -> Mapping[str, str]:
    """Return the taint of the copy, found by reading all.

    All of it is tainted where nothing tells what the damage is in.
    """
    checked = CheckedFiles(files, accept=True)
    source = _opened(place, checked, request)
    for path, entry in checked.entries.items():
        for at in range(0, entry.size, knobs.slab_bytes()):
            checked.read(path, at, min(knobs.slab_bytes(), entry.size - at))
    if not _wrong(checked):
        return {}
    if source is None:
        return {ALL: DAMAGED}
    try:
        note_damage(source)
    except CorruptError:
        return {ALL: DAMAGED}
    return source.manifest.tainted or {ALL: DAMAGED}


def _marked(seal: Seal | None, target: StagedTarget, format: str, tainted: Mapping[str, str]) -> Seal:
    """Return the seal with the taint in it.

    A directory says it in a file too. The seal is made where there is none, to say it.
    """
    staged = target.listing()
    made = seal or Seal(
        format,
        {path: digests_of(staged, path) for path in staged.entries},
        provenance={"ckpt_core": __version__, "sealed": "by a repair"},
    )
    files = dict(made.files)
    if TAINTED_FILE in staged.entries:
        files[TAINTED_FILE] = digests_of(staged, TAINTED_FILE)
    return replace(made, files=files, provenance={**made.provenance, "tainted": dict(tainted)})


def _reported(done: Repair, damage: Sequence[Finding], tainted: Mapping[str, str]) -> Repair:
    """Return the report with the damage that was accepted.

    It is wrong afterwards too, and cannot be mended.
    """
    known = {(finding.code, finding.path) for finding in done.after.findings}
    new = [finding for finding in damage if (finding.code, finding.path) not in known]
    findings = sorted_findings([*done.after.findings, *new, *findings_of(tainted)])
    more = tuple(Irreparable(_DAMAGED, finding.code, finding.path) for finding in new)
    after = replace(done.after, findings=findings)
    return replace(done, after=after, remaining=(*done.remaining, *more), tainted=tainted)


def _seal_of(staged: Verification, files: OverlaidFiles, format: str) -> Seal | None:
    """Return the copy's seal: the old one, or a new one.

    A new one is for what verifies alone: sealed, the rest would look proved.
    """
    seal = _old_seal(files)
    if seal is not None or staged.checkpoint is None or not staged.report.ok:
        return seal
    proof = read_back(staged.checkpoint)
    return Seal(
        format=format,
        files=proof.files,
        tensors=proof.by_component(),
        components=proof.components(),
        provenance={"ckpt_core": __version__, "sealed": "by a repair"},
    )


def _old_seal(files: OverlaidFiles) -> Seal | None:
    try:
        return read_seal(files)
    except CorruptError:
        return None  # which the report says
