"""Writes verifications for CI: SARIF 2.1.0 and JUnit XML.

Sources: OASIS SARIF 2.1.0, sections 3.27 (result) and 3.49 (reportingDescriptor); the JUnit schema of Jenkins' xunit.
"""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import in_shell
from ckpt_core.cli.text import shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.cli.output.failures import Failure
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.profiles import AssessmentLine
    from ckpt_core.verbs.verify import Verification

_LEVELS = ("note", "warning", "error")
_INCOMPLETE = "CK017"


def sarif(verifications: "Sequence[Verification]", failures: "Sequence[tuple[str, Failure]]" = ()) -> str:
    """Return one SARIF run of all verifications.

    It has a result for each finding, each component that is needed and not there, and each failure.
    """
    from ckpt_core.version import __version__

    results = [result for one in verifications for result in _results(one)]
    for ref, failure in failures:
        rule = failure.finding["code"] if failure.finding else failure.kind
        results.append(_result(rule, "error", failure.message, shown_place(ref)))
    rules = [{"id": code} for code in sorted({result["ruleId"] for result in results})]
    driver = {"name": "ckpt", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _results(one: "Verification") -> Iterable[dict[str, Any]]:
    place = _place(one)
    for finding in one.report.findings:
        where = f"{place}/{printable(finding.path)}" if finding.path and _is_directory(one) else place
        yield _result(finding.code, _LEVELS[finding.severity], printable(in_shell(finding.message), 2000), where)
    for line in _lacking(one):
        yield _result(_INCOMPLETE, "error", _lack(line), place)


def _result(code: str, level: str, message: str, uri: str) -> dict[str, Any]:
    location = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    return {"ruleId": code, "level": level, "message": {"text": message}, "locations": [location]}


def junit(verifications: "Sequence[Verification]", failures: "Sequence[tuple[str, Failure]]" = ()) -> str:
    """Return a JUnit suite for each checkpoint.

    It has a case for each needed component and each finding above a note.

    What could not be checked is a suite with an error.
    """
    from xml.etree import ElementTree as Xml

    root = Xml.Element("testsuites", name="ckpt verify")
    for one in verifications:
        cases = list(_cases(one)) or [("verify", None)]
        failed = sum(problem is not None for _, problem in cases)
        suite = Xml.SubElement(root, "testsuite", name=_place(one), tests=str(len(cases)), failures=str(failed))
        for name, problem in cases:
            case = Xml.SubElement(suite, "testcase", classname=_place(one), name=name)
            if problem is not None:
                Xml.SubElement(case, "failure", message=problem)
    for ref, failure in failures:
        place = shown_place(ref)
        suite = Xml.SubElement(root, "testsuite", name=place, tests="1", failures="0", errors="1")
        case = Xml.SubElement(suite, "testcase", classname=place, name="verify")
        Xml.SubElement(case, "error", message=failure.message, type=failure.kind)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode")


def _cases(one: "Verification") -> Iterable[tuple[str, str | None]]:
    for line in one.report.assessment.lines if one.report.assessment else ():
        if line.needed:
            yield f"component {line.role.label}", None if line.met else _lack(line)
    for finding in one.report.findings:
        if finding.severity > 0:
            yield _name(finding), printable(in_shell(finding.message), 2000)


def _name(finding: "Finding") -> str:
    about = finding.tensor or finding.path
    return f"{finding.code} {printable(about)}" if about else finding.code


def _lacking(one: "Verification") -> "Sequence[AssessmentLine]":
    return one.report.assessment.lacking if one.report.assessment else ()


def _lack(line: "AssessmentLine") -> str:
    role = line.role
    where = f" ({printable(role.where)})" if role.where else ""
    return f"{role.label} is {role.presence.value}{where}"


def _place(one: "Verification") -> str:
    return shown_place(one.place.files.location.url)


def _is_directory(one: "Verification") -> bool:
    return one.place.files.location.kind.value == "directory"
