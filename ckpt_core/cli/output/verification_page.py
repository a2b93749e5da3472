"""Shows verifications to a person.

It says how much was read, what is wrong, and what was not looked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ckpt_core.cli.output.answer import Block, Table
from ckpt_core.cli.text import counted, finding_lines, human_bytes, severity_word, shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.cli.output.failures import Failure
    from ckpt_core.schema.profiles import Assessment
    from ckpt_core.schema.verification import VerifyReport
    from ckpt_core.verbs.certify import Certification
    from ckpt_core.verbs.verify import Verification

_DEEPER: Mapping[str, str] = {
    "layout": "--depth bytes would find what does not match its checksum, --depth values NaN and infinities too",
    "bytes": "--depth values would find NaN and infinities too",
}
"""What a deeper look finds that one of this depth does not look for."""


def blocks_of_one(
    verification: "Verification", certified: "Certification | None" = None, *, in_full: bool = False
) -> Iterator[Block]:
    """Yield the components, the findings, and the verdict.

    Components come where a purpose was asked for.
    """
    report = verification.report
    if report.assessment is not None:
        yield _components(report)
    for finding in report.findings:
        yield from finding_lines(finding, in_full=in_full)
    if certified is not None and not certified.findings:
        yield _proof(certified)
    yield _last_line(report)
    if report.assessment is not None:
        yield report.assessment.summary


def blocks_of_many(
    verifications: "Sequence[Verification]", failures: Sequence[tuple[str, "Failure"]] = ()
) -> Iterator[Block]:
    """Yield a table of checkpoints, then what is wrong with each.

    Failures are said on stderr as well.
    """
    yield _table(verifications, failures)
    for one in verifications:
        yield from _below(one)
    if verifications:
        yield _read_of_all([one.report for one in verifications])
    if failures:
        from ckpt_core.cli.output.failures import complain
    for _, failure in failures:
        complain(failure)


def place_of(one: "Verification") -> str:
    """Return where a checkpoint is, with `#member` where the ref picks one."""
    location = one.place.files.location
    return shown_place(location.url) + (f"#{location.member}" if location.member else "")


def worst_of(report: "VerifyReport") -> str:
    """Return `error` or `warning`, else `ok`.

    It is `ok` where there is nothing but things worth knowing.
    """
    return "ok" if report.worst == 0 else severity_word(report.worst)


def verdict_of(report: "VerifyReport") -> str:
    """Return the verdict for a profile, else the worst finding."""
    return worst_of(report) if report.assessment is None else report.assessment.verdict.value


def all_finite(assessment: "Assessment") -> str:
    """Return whether every value was checked for NaN and infinities.

    Those that were found are findings.
    """
    return "checked" if assessment.finite else "not checked"


def _table(verifications: "Sequence[Verification]", failures: Sequence[tuple[str, "Failure"]]) -> Table:
    rows = []
    for one in verifications:
        match = one.place.match
        step = one.checkpoint.manifest.step if one.checkpoint is not None else None
        step = match.step if step is None and match is not None else step
        shown = "-" if step is None else str(step)
        rows.append((place_of(one), match.format if match else "-", shown, verdict_of(one.report), _found(one.report)))
    rows += [(shown_place(ref), "-", "-", "not checked", f"exit code {failure.exit_code}") for ref, failure in failures]
    return Table(("checkpoint", "format", "step", "verdict", "found"), rows, frozenset({"step"}))


def _below(one: "Verification") -> Iterator[Block]:
    """Yield the faults of one of many, under its name."""
    lines = [line for finding in one.report.findings if finding.severity > 0 for line in finding_lines(finding)]
    if one.report.assessment is not None and one.report.assessment.lacking:
        lines.append(one.report.assessment.summary)
    if lines:
        yield f"{place_of(one)}:"
        yield from (f"  {line}" for line in lines)


def _last_line(report: "VerifyReport") -> str:
    """Return the verdict, and what it rests on.

    Of an "ok" the reader is to know that first.
    """
    worst, tensors = worst_of(report), counted(report.checked_tensors, "tensor")
    if worst != "ok":
        return f"{worst}: {_found(report)}; {tensors}, {_read([report])}"
    return f"ok: {_read([report])}: {_found(report)}; {tensors}{_deeper(report)}"


def _read_of_all(reports: "Sequence[VerifyReport]") -> str:
    """Return what the verdicts of several rest on.

    It is how much of them was read, and what was not looked for.
    """
    return f"{counted(len(reports), 'checkpoint')}: {_read(reports)}{_deeper(reports[0])}"


def _deeper(report: "VerifyReport") -> str:
    deeper = _DEEPER.get(severity_word(report.depth))
    return f"; {deeper}" if deeper else ""


def _read(reports: "Sequence[VerifyReport]") -> str:
    """`8 MiB read`, `1 MiB of 8 MiB read`."""
    checked, total = sum(one.checked_bytes for one in reports), sum(one.total_bytes for one in reports)
    if not checked:
        return "headers and sizes only"
    of = f" of {human_bytes(total)}" if checked < total else ""
    return f"{human_bytes(checked)}{of} read"


def _found(report: "VerifyReport") -> str:
    """`1 error, 2 notes`."""
    counts: dict[str, int] = {}
    for finding in report.findings:
        word = "note" if finding.severity == 0 else severity_word(finding.severity)
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(counted(count, word) for word, count in counts.items()) or "nothing wrong"


def _proof(certified: "Certification") -> str:
    """Return what a certificate has proved."""
    total = counted(sum(certified.operations.values()), "tensor")
    done = ", ".join(f"{count:,} by {printable(what)}" for what, count in certified.operations.items())
    base = f" and {shown_place(certified.base)}" if certified.base else ""
    return f"certificate: {total} made again of {shown_place(certified.source)}{base} and equal: {done}"


def _components(report: "VerifyReport") -> Table:
    """Return a table of components, their presence and need."""
    assert report.assessment is not None
    rows = []
    for line in report.assessment.lines:
        need = "needed" if line.needed else "-"
        role = line.role
        rows.append((role.label, role.presence.value, need, printable(role.where or "-"), printable(role.note or "-")))
    return Table(("component", "state", "needed", "where", "note"), rows)
