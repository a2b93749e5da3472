import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.schema.locations import Attempt, Candidate, Location, LocationKind, Outcome, Priority, Query, Resolution
from ckpt_core.schema.text import printable, redact, scrub

USERINFO = st.text("abcXYZ019-._~!$&'()*+,;=:%", min_size=1).map(lambda text: f"U5{text}U5")
QUERY = st.text(st.characters(codec="utf-8"), max_size=40).map(lambda text: f"Q5{text}Q5")
PATH = st.text("abc/._-@:=%", max_size=30)


@given(st.text(st.characters()), st.integers(1, 300))
def test_printable_is_bounded_and_shows_no_control_character(text, limit):
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=240))
def test_printable_leaves_what_is_fit_to_show(text):
    assert printable(text) == text


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b", "\x00", "\x7f", "\u202e", "\u2028", "\u200b", "\ufeff", "\udcff"])
def test_printable_escapes_what_moves_the_cursor_or_the_reader(char):
    assert printable(f"a{char}b").startswith("a\\")


def test_printable_says_that_it_cut():
    assert printable("x" * 1000) == "x" * 239 + "…"
    assert len(printable("\n" * 239)) == 240


@given(st.sampled_from(["s3", "https", "a::b", "zip://x::https"]), USERINFO, PATH, QUERY)
def test_redact_never_shows_userinfo_or_query(scheme, userinfo, path, query):
    shown = redact(f"{scheme}://{userinfo}@host.example/{path}?{query}")
    assert "U5" not in shown
    assert "Q5" not in shown
    assert shown.isprintable()


@given(st.text(max_size=30), st.text(max_size=30))
def test_redact_is_bounded_whatever_it_is_given(before, after):
    assert len(redact(f"{before}://{after}")) <= 240


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("runs/a?b@c", "runs/a?b@c"),
        ("https://host:8080/a@b/c", "https://host:8080/a@b/c"),
        ("https://[::1]:80/x@y", "https://[::1]:80/x@y"),
        ("https://user@host/x", "https://host/x"),
        ("https://user:p@ss@host/x", "https://host/x"),
        ("https://user:p/ss?w#rd@host/x", "https://…"),
        ("https://user:p?w@host/x", "https://…"),
        ("https://host/x?sig=1#step-2", "https://host/x"),
        ("s3://bucket/epoch=3-step=5#best", "s3://bucket/epoch=3-step=5#best"),
        ("https://" + "x" * 10_000, "https://…"),
    ],
)
def test_redact_keeps_what_tells_the_place(url, shown):
    assert redact(url) == shown


@given(USERINFO, QUERY.filter(lambda query: not any(map(str.isspace, query))))
def test_scrub_redacts_each_url_in_a_message(userinfo, query):
    said = scrub(f"GET https://{userinfo}@host/x?{query} failed:\n s3://{userinfo}@b/k?{query}")
    assert "U5" not in said
    assert "Q5" not in said
    assert said.startswith("GET https://host/x")
    assert said.isprintable()


def test_a_resolution_shows_no_secret_anywhere():
    url = "https://me:hunter2@host/x?token=s3cr3t"
    candidate = Candidate(url, Priority.EXPLICIT, "given", required=True)
    for outcome in Outcome:
        location = Location(url, LocationKind.FILE) if outcome is Outcome.FOUND else None
        resolution = Resolution(Query(url, env={"TOKEN": "s3cr3t"}), location, (Attempt(candidate, outcome),))
        said = [resolution.explain(), repr(resolution.attempts), repr(location), str(location), str(candidate)]
        said += [] if location else [str(resolution.error()), repr(resolution.error())]
        for text in said:
            assert "hunter2" not in text
            assert "s3cr3t" not in text
