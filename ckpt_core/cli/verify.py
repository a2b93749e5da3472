"""`ckpt verify`: what is wrong with a checkpoint, and an exit code to act on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.answers import Answer, Block
from ckpt_core.cli.commands import OpeningCommand
from ckpt_core.cli.questions import place_options, ref_argument, require_ref
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.words import counted, finding_lines, human_bytes, severity_word, shown_place

if TYPE_CHECKING:
    from ckpt_core.schema.findings import VerifyReport
    from ckpt_core.schema.progress import Progress
    from ckpt_core.verbs.verify import Verification

_DEPTHS = ("layout", "bytes", "values")
_LIMITS = ("warning", "error")
_FAILED, _WARNED = 4, 1


@click.command("verify", cls=OpeningCommand)
@ref_argument()
@place_options
@click.option(
    "--depth",
    type=click.Choice(_DEPTHS),
    default="layout",
    show_default=True,
    help="Read headers and sizes; or every byte, against the checksums there are; or look for NaN and infinities too.",
)
@click.option(
    "--fail-on",
    type=click.Choice(_LIMITS),
    default="error",
    show_default=True,
    help="The least finding that makes the exit code other than 0: 4 for an error, 1 for a warning.",
)
@click.option("--certificate", is_flag=True, help="Compare a conversion and its source with the certificate, too.")
@click.option("--source", metavar="REF", help="With --certificate: the source, where it is not where it was.")
@common_options
@click.pass_obj
def command(
    session: Session,
    ref: str | None,
    hints: dict[str, str],
    format: str | None,
    depth: str,
    fail_on: str,
    certificate: bool,
    source: str | None,
) -> Answer:
    """Check a checkpoint for damage."""
    require_ref(ref, hints)
    if source is not None and not certificate:
        raise click.UsageError("--source goes with --certificate.")
    from ckpt_core.schema.findings import Depth
    from ckpt_core.verbs.verify import verify

    with session.progress() as progress:
        found = verify(
            ref, depth=Depth[depth.upper()], hints=hints, format=format, options=session.options, progress=progress
        )
        report = _with_certificate(found, source, progress) if certificate else found.report
    return Answer(
        result=lambda: _result(found, report),
        page=lambda: _page(report),
        brief=lambda: [_worst(report)],
        findings=report.findings,
        exit_code=_exit_code(report, fail_on),
    )


def _exit_code(report: "VerifyReport", fail_on: str) -> int:
    if not report.ok:
        return _FAILED
    return _WARNED if fail_on == "warning" and _worst(report) == "warning" else 0


def _worst(report: "VerifyReport") -> str:
    """`error` or `warning`; `ok` where there is nothing but things worth knowing."""
    return "ok" if report.worst == 0 else severity_word(report.worst)


def _with_certificate(found: "Verification", source: str | None, progress: "Progress | None") -> "VerifyReport":
    from dataclasses import replace

    from ckpt_core.schema.findings import sorted_findings
    from ckpt_core.verbs.certify import certify

    place = found.place.files.location.url
    findings = certify(place, source, progress=progress, manager=found.place.manager)
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
    }


def _page(report: "VerifyReport") -> Iterator[Block]:
    for finding in report.findings:
        yield from finding_lines(finding)
    counts: dict[str, int] = {}
    for finding in report.findings:
        word = "note" if finding.severity == 0 else severity_word(finding.severity)
        counts[word] = counts.get(word, 0) + 1
    found = ", ".join(counted(count, word) for word, count in counts.items()) or "nothing wrong"
    read = f"{human_bytes(report.checked_bytes)} read" if report.checked_bytes else "headers and sizes only"
    yield f"{_worst(report)}: {found}; {counted(report.checked_tensors, 'tensor')}, {read}"
