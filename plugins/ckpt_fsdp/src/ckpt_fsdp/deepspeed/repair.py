"""Writes the pointer of a DeepSpeed directory again.

Which tag `latest` names follows from the tags there are.

Only one tag that is whole leaves no choice. Of several the newest is a guess, for somebody may have meant an older one.
"""

from collections.abc import Iterator

from ckpt_core import (
    CkptError,
    Confidence,
    Files,
    FormatMatch,
    Irreparable,
    LoadRequest,
    Operation,
    RepairAction,
    Severity,
    VerifyReport,
    printable,
)
from ckpt_fsdp.deepspeed.detection import FORMAT
from ckpt_fsdp.deepspeed.names import step_of, survey

_CODES = ("ZE001", "ZE002")


def propose(files: Files, report: VerifyReport) -> Iterator[RepairAction | Irreparable]:
    """Yield repairs for a missing or wrong pointer.

    It names a tag that is not there.
    """
    for finding in report.findings:
        if finding.code in _CODES and finding.path is not None:
            folder = finding.path.rpartition("/")[0]
            yield _pointed(files, folder, finding.path, finding.code)


def _pointed(files: Files, folder: str, pointer: str, code: str) -> RepairAction | Irreparable:
    below = files.below(folder)
    universal = pointer.endswith("latest_universal")
    tags = [name for name, tag in survey(below).items() if name and "/" not in name and tag.universal == universal]
    whole = [name for name in tags if _is_whole(below.below(name), name)]
    if not whole:
        reason = "no tag directory here is whole" if tags else "there is no tag directory here to name"
        return Irreparable(f"{reason}; copy the one that was meant", code, pointer)
    newest = max(whole, key=lambda name: (step_of(name) or -1, name))
    only = len(whole) == 1
    why = "the only tag here that is whole" if only else f"the newest of {len(whole)} tags; another may be meant"
    summary = f"let it name {printable(newest)}: {why}"
    return RepairAction(summary, Operation.WRITE, pointer, newest.encode("utf-8", "surrogateescape"), lossless=only)


def _is_whole(tag: Files, name: str) -> bool:
    """Return True if a tag opens without an error.

    No tensor of it is read.
    """
    from ckpt_fsdp.deepspeed.opening import read

    try:
        checkpoint = read(tag, FormatMatch(FORMAT, Confidence.CERTAIN, "a tag", step=step_of(name)), LoadRequest())
    except CkptError:
        return False
    return all(finding.severity < Severity.ERROR for finding in checkpoint.manifest.findings)
