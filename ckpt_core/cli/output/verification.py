"""Answers `ckpt verify`, about one checkpoint or several.

Several are those of a folder, or several refs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpt_core.cli.output.answer import Answer, first_code
from ckpt_core.cli.output.verification_page import (
    all_finite,
    blocks_of_many,
    blocks_of_one,
    place_of,
    verdict_of,
    worst_of,
)
from ckpt_core.cli.session import Session
from ckpt_core.cli.text import severity_word, shown_place

if TYPE_CHECKING:
    from ckpt_core.cli.output.several import Asked
    from ckpt_core.schema.verification import VerifyReport, VerifyRequest
    from ckpt_core.verbs.certify import Certification
    from ckpt_core.verbs.verify import Verification

_FAILED, _WARNED = 4, 1


class Checked(NamedTuple):
    """The verifications at a ref.

    Attributes:
        found: One verification, or one for each checkpoint of a folder.
        of_folder: Which of the two.
        certified: What was compared with its certificate, where that was asked for.
    """

    found: "Sequence[Verification]"
    of_folder: bool = False
    certified: "Certification | None" = None


def check(
    session: Session,
    ref: str | None,
    request: "VerifyRequest",
    *,
    hints: Mapping[str, str],
    format: str | None,
    certificate: tuple[str | None, str | None] | None,
) -> Checked:
    """Verify the checkpoints at a ref.

    `certificate` is where its source and its base are, None where it was not asked for.
    """
    from ckpt_core.verbs.load import OWN_CHECKS, find
    from ckpt_core.verbs.verify import verify_members, verify_place

    with session.progress() as progress:
        place = find(ref, hints=hints, format=format, checks=OWN_CHECKS)
        if place.match is None and certificate is None:
            return Checked(list(verify_members(place, request, progress=progress)), of_folder=True)
        one = verify_place(place, request, progress=progress)
        if certificate is None:
            return Checked([one])
        from ckpt_core.schema.verification import sorted_findings
        from ckpt_core.verbs.certify import certification

        source, base = certificate
        url = place.files.location.url
        certified = certification(url, source, base=base, progress=progress, manager=place.manager)
        findings = sorted_findings([*one.report.findings, *certified.findings])
        return Checked([replace(one, report=replace(one.report, findings=findings))], certified=certified)


def of_one(session: Session, checked: Checked, form: str, fail_on: str) -> Answer:
    """Return the answer about one ref, in the form of `--report`."""
    verifications = checked.found
    codes = [_exit_code(one.report, fail_on) for one in verifications]
    return _in_form(
        Answer(
            result=lambda: _results(checked) if checked.of_folder else _results(checked)[0],
            page=lambda: blocks_of_many(verifications) if checked.of_folder else _page_of_one(session, checked),
            brief=lambda: _brief(verifications) if checked.of_folder else [verdict_of(verifications[0].report)],
            findings=[finding for one in verifications for finding in one.report.findings],
            exit_code=first_code(codes),
        ),
        verifications,
        form,
    )


def of_several(session: Session, asked: "Sequence[Asked[Checked]]", form: str, fail_on: str) -> Answer:
    """Return the answer about several refs.

    It is one table, one report, or an array for `--json`.
    """
    from ckpt_core.cli.output.several import envelope_of

    verifications = [one for each in asked if each.found is not None for one in each.found.found]
    failures = [(each.ref, each.failure) for each in asked if each.failure is not None]
    codes = [
        *(_exit_code(one.report, fail_on) for one in verifications),
        *(failure.exit_code for _, failure in failures),
    ]
    answer = Answer(
        result=list,
        page=lambda: blocks_of_many(verifications, failures),
        brief=lambda: _brief(verifications, failures),
        exit_code=first_code(codes),
        each=lambda: [envelope_of(session, each, _envelope(session, each, fail_on)) for each in asked],
    )
    return _in_form(answer, verifications, form, failures)


def _envelope(session: Session, each: "Asked[Checked]", fail_on: str) -> Any:
    from ckpt_core.cli.output.json_envelope import contents

    if each.found is None:
        return None
    session.ref = shown_place(each.ref)
    return contents(session, of_one(session, each.found, "human", fail_on), None)


def _in_form(
    answer: Answer, verifications: "Sequence[Verification]", form: str, failures: Sequence[tuple[str, Any]] = ()
) -> Answer:
    """Return the answer in the form that was asked for.

    JSON is the session's own.
    """
    if form not in ("sarif", "junit"):
        return answer
    from ckpt_core.cli.output import ci_reports

    make = ci_reports.sarif if form == "sarif" else ci_reports.junit
    return answer._replace(page=lambda: [make(verifications, failures)], brief=lambda: [make(verifications, failures)])


def _page_of_one(session: Session, checked: Checked) -> Iterable[Any]:
    return blocks_of_one(checked.found[0], checked.certified, in_full=session.verbose)


def _brief(verifications: "Sequence[Verification]", failures: Sequence[tuple[str, Any]] = ()) -> list[str]:
    lines = [f"{place_of(one)} {verdict_of(one.report)}" for one in verifications]
    return [*lines, *(f"{shown_place(ref)} not checked" for ref, _ in failures)]


def _exit_code(report: "VerifyReport", fail_on: str) -> int:
    if not report.ok or (report.assessment is not None and report.assessment.verdict.value != "COMPLETE"):
        return _FAILED
    return _WARNED if fail_on == "warning" and worst_of(report) == "warning" else 0


def _results(checked: Checked) -> list[dict[str, Any]]:
    return [_result(one, checked.certified) for one in checked.found]


def _result(verification: "Verification", certified: "Certification | None") -> dict[str, Any]:
    match, report = verification.place.match, verification.report
    return {
        "location": shown_place(verification.place.files.location.url),
        "format": None if match is None else match.format,
        "depth": severity_word(report.depth),
        "worst": worst_of(report),
        "checked_tensors": report.checked_tensors,
        "checked_bytes": report.checked_bytes,
        "total_bytes": report.total_bytes,
        "assessment": _assessment(report),
        "certificate": None if certified is None else _certificate(certified),
    }


def _certificate(certified: "Certification") -> dict[str, Any]:
    return {
        "source": shown_place(certified.source),
        "base": None if certified.base is None else shown_place(certified.base),
        "operations": dict(certified.operations),
        "holds": not certified.findings,
    }


def _assessment(report: "VerifyReport") -> dict[str, Any] | None:
    assessment = report.assessment
    if assessment is None:
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
        for line in assessment.lines
    ]
    return {
        "profile": assessment.profile.value,
        "verdict": assessment.verdict.value,
        "finite": all_finite(assessment),
        "components": lines,
    }
