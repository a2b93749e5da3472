"""`ckpt verify`: what is wrong with a checkpoint, and an exit code to act on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import OpeningCommand
from ckpt_core.cli.options.refs import hint_option, profile_options, ref_argument, require_ref
from ckpt_core.cli.options.sampling import sampling_options
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, finding_lines, human_bytes, severity_word, shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.schema.access import Progress
    from ckpt_core.schema.profiles import Assessment
    from ckpt_core.schema.verification import Sampling, VerifyReport
    from ckpt_core.verbs.verify import Verification

_DEPTHS = ("layout", "bytes", "values")
_FORMS = ("human", "json", "sarif", "junit")
_LIMITS = ("warning", "error")
_FAILED, _WARNED = 4, 1


@click.command("verify", cls=OpeningCommand)
@ref_argument()
@hint_option
@profile_options
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME",
    help="How to report: human, json, sarif or junit. Any other name: take the checkpoint for this format.",
)
@click.option(
    "--depth",
    type=click.Choice(_DEPTHS),
    default="layout",
    show_default=True,
    help="Read headers and sizes; or every byte, against the checksums there are; or look for NaN and infinities too.",
)
@sampling_options
@click.option(
    "--fail-on",
    type=click.Choice(_LIMITS),
    default="error",
    show_default=True,
    help="The least finding that makes the exit code other than 0: 4 for an error, 1 for a warning.",
)
@click.option("--certificate", is_flag=True, help="Compare a conversion and its source with the certificate, too.")
@click.option("--source", metavar="REF", help="With --certificate: the source, where it is not where it was.")
@click.option("--base", metavar="REF", help="With --certificate: the base model, where it is not where it was.")
@common_options
@click.pass_obj
def command(
    session: Session,
    ref: str | None,
    hints: dict[str, str],
    formats: tuple[str, ...],
    profile: str | None,
    without: tuple[str, ...],
    depth: str,
    sampling: "Sampling | None",
    fail_on: str,
    certificate: bool,
    source: str | None,
    base: str | None,
) -> Answer:
    """Check a checkpoint, or each one in a folder, for damage; with --for, for what it lacks too."""
    require_ref(ref, hints)
    for name, given in (("source", source), ("base", base)):
        if given is not None and not certificate:
            raise click.UsageError(f"--{name} goes with --certificate.")
    if without and profile is None:
        raise click.UsageError("--without goes with --for.")
    if sampling is not None and depth == "layout":
        raise click.UsageError("--sample and --time-budget go with --depth bytes or values.")
    form, format = _split(formats)
    session.json = session.json or form == "json"
    from ckpt_core.schema.roles import Profile
    from ckpt_core.schema.verification import Depth, VerifyRequest
    from ckpt_core.verbs.load import OWN_CHECKS, find
    from ckpt_core.verbs.verify import verify_members, verify_place

    purpose = None if profile is None else Profile(profile)
    request = VerifyRequest(Depth[depth.upper()], session.options, purpose, without, sampling)
    with session.progress() as progress:
        place = find(ref, hints=hints, format=format, checks=OWN_CHECKS)
        if place.match is None and not certificate:
            members = list(verify_members(place, request, progress=progress))
            return _reported(_of_many(members, fail_on), members, form)
        found = verify_place(place, request, progress=progress)
        report = _with_certificate(found, source, base, progress) if certificate else found.report
    return _reported(_of_one(found, report, fail_on), [replace(found, report=report)], form)


def _split(formats: Sequence[str]) -> tuple[str, str | None]:
    """How to report, and the format to take the checkpoint for; no format of checkpoints has the name of a report."""
    forms = [name for name in formats if name in _FORMS]
    others = [name for name in formats if name not in _FORMS]
    if len(forms) > 1 or len(others) > 1:
        raise click.UsageError("--format: at most one report and one format of checkpoints.")
    return forms[0] if forms else "human", others[0] if others else None


def _reported(answer: Answer, found: "Sequence[Verification]", form: str) -> Answer:
    """The answer in the form that was asked for; JSON is the session's own."""
    if form not in ("sarif", "junit"):
        return answer
    from ckpt_core.cli.output import ci_reports

    make = ci_reports.sarif if form == "sarif" else ci_reports.junit
    return answer._replace(page=lambda: [make(found)], brief=lambda: [make(found)])


def _of_one(found: "Verification", report: "VerifyReport", fail_on: str) -> Answer:
    return Answer(
        result=lambda: _result(found, report),
        page=lambda: _page(report),
        brief=lambda: [_verdict(report)],
        findings=report.findings,
        exit_code=_exit_code(report, fail_on),
    )


def _of_many(found: "list[Verification]", fail_on: str) -> Answer:
    """A folder of checkpoints: a table of them, all findings, the worst exit code."""
    codes = {_exit_code(one.report, fail_on) for one in found}
    return Answer(
        result=lambda: [_result(one, one.report) for one in found],
        page=lambda: [_members(found), *(line for one in found for line in _below(one))],
        brief=lambda: [f"{_place(one)} {_verdict(one.report)}" for one in found],
        findings=[finding for one in found for finding in one.report.findings],
        exit_code=max(codes),
    )


def _members(found: "list[Verification]") -> Table:
    rows = []
    for one in found:
        match, counts = one.place.match, _counts(one.report)
        step = one.checkpoint.manifest.step if one.checkpoint is not None else None
        step = match.step if step is None and match is not None else step
        rows.append((_place(one), match.format if match else "-", "-" if step is None else str(step), *counts))
    return Table(("checkpoint", "format", "step", "verdict", "found"), rows, frozenset({"step"}))


def _counts(report: "VerifyReport") -> tuple[str, str]:
    return _verdict(report), _found(report)


def _below(one: "Verification") -> Iterator[Block]:
    """What is wrong with one of many, under its name."""
    lines = [line for finding in one.report.findings if finding.severity > 0 for line in finding_lines(finding)]
    if one.report.assessment is not None and one.report.assessment.lacking:
        lines.append(one.report.assessment.summary)
    if lines:
        yield f"{_place(one)}:"
        yield from (f"  {line}" for line in lines)


def _place(one: "Verification") -> str:
    location = one.place.files.location
    return shown_place(location.url) + (f"#{location.member}" if location.member else "")


def _exit_code(report: "VerifyReport", fail_on: str) -> int:
    if not report.ok or (report.assessment is not None and report.assessment.verdict.value != "COMPLETE"):
        return _FAILED
    return _WARNED if fail_on == "warning" and _worst(report) == "warning" else 0


def _worst(report: "VerifyReport") -> str:
    """`error` or `warning`; `ok` where there is nothing but things worth knowing."""
    return "ok" if report.worst == 0 else severity_word(report.worst)


def _verdict(report: "VerifyReport") -> str:
    """The verdict where a profile was asked for, else the worst finding."""
    return _worst(report) if report.assessment is None else report.assessment.verdict.value


def _with_certificate(
    found: "Verification", source: str | None, base: str | None, progress: "Progress | None"
) -> "VerifyReport":
    from ckpt_core.schema.verification import sorted_findings
    from ckpt_core.verbs.certify import certify

    place = found.place.files.location.url
    findings = certify(place, source, base=base, progress=progress, manager=found.place.manager)
    return replace(found.report, findings=sorted_findings([*found.report.findings, *findings]))


def _result(found: "Verification", report: "VerifyReport") -> dict[str, Any]:
    match = found.place.match
    return {
        "location": shown_place(found.place.files.location.url),
        "format": None if match is None else match.format,
        "depth": severity_word(report.depth),
        "worst": _worst(report),
        "checked_tensors": report.checked_tensors,
        "checked_bytes": report.checked_bytes,
        "total_bytes": report.total_bytes,
        "assessment": _assessment(report),
    }


def _assessment(report: "VerifyReport") -> dict[str, Any] | None:
    found = report.assessment
    if found is None:
        return None
    lines = [
        {
            "component": line.role.label,
            "presence": line.role.presence.value,
            "where": line.role.where,
            "note": line.role.note,
            "needed": line.needed,
            "met": line.met,
        }
        for line in found.lines
    ]
    return {
        "profile": found.profile.value,
        "verdict": found.verdict.value,
        "finite": _finite(found),
        "components": lines,
    }


def _finite(found: "Assessment") -> str:
    """Whether NaN and infinities were looked for in every value; they are findings."""
    return "checked" if found.finite else "not checked"


def _page(report: "VerifyReport") -> Iterator[Block]:
    if report.assessment is not None:
        yield _components(report)
    for finding in report.findings:
        yield from finding_lines(finding)
    yield f"{_worst(report)}: {_found(report)}; {counted(report.checked_tensors, 'tensor')}, {_read(report)}"
    if report.assessment is not None:
        yield report.assessment.summary


def _read(report: "VerifyReport") -> str:
    """`8 MiB read`, `1 MiB of 8 MiB read`."""
    if not report.checked_bytes:
        return "headers and sizes only"
    of = f" of {human_bytes(report.total_bytes)}" if report.checked_bytes < report.total_bytes else ""
    return f"{human_bytes(report.checked_bytes)}{of} read"


def _components(report: "VerifyReport") -> Table:
    """A line for each component: whether it is there, and whether it has to be."""
    assert report.assessment is not None
    rows = []
    for line in report.assessment.lines:
        need = "needed" if line.needed else "-"
        role = line.role
        rows.append((role.label, role.presence.value, need, printable(role.where or "-"), printable(role.note or "-")))
    return Table(("component", "state", "needed", "where", "note"), rows)


def _found(report: "VerifyReport") -> str:
    """`1 error, 2 notes`."""
    counts: dict[str, int] = {}
    for finding in report.findings:
        word = "note" if finding.severity == 0 else severity_word(finding.severity)
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(counted(count, word) for word, count in counts.items()) or "nothing wrong"
