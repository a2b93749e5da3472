"""The order of findings in a report, and what is said once."""

from ckpt_core import Finding, Severity
from ckpt_core.schema.verification import sorted_findings


def finding(code, severity, message, path):
    return Finding(code, severity, message, path, None)


def test_findings_come_worst_first_and_equal_ones_once():
    mild, bad = finding("HF002", Severity.INFO, "x", "a"), finding("HF001", Severity.ERROR, "x", "b")
    assert sorted_findings([mild, bad, mild, bad]) == (bad, mild)


def test_that_a_file_is_no_json_is_said_once_by_whoever_says_it_worst():
    mild, bad = finding("CK018", Severity.WARNING, "cut", "a"), finding("CK018", Severity.ERROR, "no object", "a")
    other, two = finding("CK018", Severity.ERROR, "cut", "b"), finding("HF001", Severity.ERROR, "x", "a")
    assert sorted_findings([mild, two, other, bad]) == (bad, other, two)


def test_other_codes_may_say_several_things_of_one_file():
    one, other = finding("HF001", Severity.ERROR, "x", "a"), finding("HF001", Severity.ERROR, "y", "a")
    assert sorted_findings([one, other]) == (one, other)
