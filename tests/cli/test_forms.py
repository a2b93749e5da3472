"""The small pieces: numbers for people, plain tables, JSON values, the progress line."""

import io
from time import monotonic

import pytest

from ckpt_core.cli.output.answer import Table
from ckpt_core.cli.output.json_envelope import as_json
from ckpt_core.cli.output.tables import plain_lines, print_blocks
from ckpt_core.cli.progress_bar import Bar
from ckpt_core.cli.text import counted, finding_lines, human_bytes, shown_place
from ckpt_core.schema.findings import Finding, Severity


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (90_807_040, "86.6 MiB"),
        (1 << 30, "1.0 GiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_bytes_are_shown_in_binary_units(count, shown):
    assert human_bytes(count) == shown


def test_a_size_just_below_a_unit_is_never_shown_as_1024():
    assert human_bytes((1 << 20) - 1) == "1.0 MiB"


def test_counts_agree_with_their_noun():
    assert (counted(1, "tensor"), counted(20_000, "tensor")) == ("1 tensor", "20,000 tensors")


def test_a_plain_table_is_aligned_numbers_to_the_right():
    table = Table(("name", "size"), [("a", "5"), ("long", "1,000")], frozenset({"size"}))
    assert list(plain_lines(table)) == ["name   size", "a         5", "long  1,000"]


def test_an_empty_table_has_its_headers_only():
    assert list(plain_lines(Table(("a", "b"), []))) == ["a  b"]


def test_blocks_are_printed_in_order():
    stream = io.StringIO()
    print_blocks(["first", Table(("a",), [("1",)])], stream)
    assert stream.getvalue() == "first\na\n1\n"


def test_json_values_hold_no_nan_and_no_objects():
    value = {"a": (float("nan"), float("inf"), -float("inf"), 1.5), 2: b"x", "s": {"only"}}
    assert as_json(value) == {"a": ["NaN", "Infinity", "-Infinity", 1.5], "2": "b'x'", "s": ["only"]}


def test_a_finding_says_its_file_once():
    finding = Finding("CK004", Severity.ERROR, "a.pth: ends early", "a.pth", hint="copy it again")
    assert finding_lines(finding) == ["CK004 error    a.pth  ends early", "    hint: copy it again"]


def test_a_url_loses_user_and_query_and_a_path_nothing():
    assert shown_place("s3://key:secret@bucket/a?sign=x") == "s3://bucket/a"
    assert shown_place("a" * 500) == "a" * 500


def test_the_bar_draws_a_line_and_wipes_it_off():
    stream = io.StringIO()
    with Bar(stream, "verify") as bar:
        bar.begin(2048)
        bar.advance(1024)
        assert bar.line(monotonic() + 1).startswith("verify: 50 % of 2.0 KiB, ")
    assert stream.getvalue().startswith("\r\x1b[Kverify: 0 % of 2.0 KiB")
    assert stream.getvalue().endswith("\r\x1b[K")


def test_the_bar_never_passes_100_percent():
    bar = Bar(io.StringIO(), "diff")
    bar.begin(10)
    bar.advance(25)
    assert bar.line(monotonic()).startswith("diff: 100 % of 10 B")


def test_a_bar_that_was_never_begun_draws_nothing():
    stream = io.StringIO()
    with Bar(stream, "inspect"):
        pass
    assert stream.getvalue() == ""
