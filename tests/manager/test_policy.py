import os
from itertools import permutations

import pytest

from ckpt_core import CkptPluginManager, Confidence, FormatMatch, LocationKind, Priority, Query, hookimpl
from ckpt_core.errors import CheckpointNotFoundError, UnreachableError, UnsafeContentError
from ckpt_core.manager.policy import resolve, weigh
from ckpt_core.schema.formats import Format
from ckpt_core.schema.locations import Candidate, Outcome

QUERY = Query("x", env={})
FORMATS = (Format("zip", ""), Format("torch", "", base="zip"), Format("trainer", "", base="torch"), Format("other", ""))


@pytest.fixture
def place(tmp_path):
    """A path that exists, or not, by name."""

    def at(name, *, exists):
        path = tmp_path / name
        if exists:
            path.write_bytes(b"x")
        return str(path)

    return at


def outcomes(resolution):
    return [(os.path.basename(attempt.candidate.url), attempt.outcome) for attempt in resolution.attempts]


def test_candidates_are_probed_by_rank_then_order_whatever_order_they_come_in(place):
    candidates = [
        Candidate(place("fallback", exists=True), Priority.FALLBACK, "r"),
        Candidate(place("local-2", exists=True), Priority.LOCAL, "r", order=2),
        Candidate(place("local-1", exists=False), Priority.LOCAL, "r", order=1),
        Candidate(place("env", exists=False), Priority.ENVIRONMENT, "r"),
    ]
    for order in permutations(candidates):
        resolution = resolve(QUERY, order)
        assert outcomes(resolution) == [
            ("env", Outcome.MISSING),
            ("local-1", Outcome.MISSING),
            ("local-2", Outcome.FOUND),
            ("fallback", Outcome.NOT_PROBED),
        ]
        assert resolution.location.name == "local-2"


def test_a_required_place_that_is_missing_ends_the_search(place):
    env = Candidate(place("env", exists=False), Priority.ENVIRONMENT, "$CKPT", required=True)
    resolution = resolve(QUERY, [Candidate(place("local", exists=True), Priority.LOCAL, "r"), env])
    assert outcomes(resolution) == [("env", Outcome.MISSING), ("local", Outcome.NOT_PROBED)]
    with pytest.raises(CheckpointNotFoundError, match=r"\$CKPT"):
        resolution.require()


def test_a_place_that_does_not_answer_ends_the_search(place, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    silent = Candidate("http://me:hunter2@127.0.0.1:1/x?t=s3cr3t", Priority.REMOTE, "r")
    resolution = resolve(QUERY, [Candidate(place("local", exists=True), Priority.LOCAL, "r"), silent])
    assert [attempt.outcome for attempt in resolution.attempts] == [Outcome.UNREACHABLE, Outcome.NOT_PROBED]
    with pytest.raises(UnreachableError) as caught:
        resolution.require()
    assert caught.value.exit_code == 5
    for said in (str(caught.value), resolution.explain(), repr(resolution.attempts)):
        assert said.count("check the connection") <= 1
        assert "hunter2" not in said
        assert "s3cr3t" not in said


def test_a_place_that_may_not_be_named_is_refused():
    with pytest.raises(UnsafeContentError):
        resolve(QUERY, [Candidate("reference://x", Priority.EXPLICIT, "r")])


def test_a_place_is_probed_once_and_required_where_anybody_requires_it(place):
    url, local = place("a", exists=False), place("local", exists=True)
    candidates = [
        Candidate(url, Priority.EXPLICIT, "bare"),
        Candidate(url, Priority.EXPLICIT, "bare"),
        Candidate(url, Priority.ENVIRONMENT, "insisted", required=True),
        Candidate(local, Priority.LOCAL, "r"),
    ]
    for order in permutations(candidates):
        resolution = resolve(QUERY, order)
        assert outcomes(resolution) == [("a", Outcome.MISSING), ("local", Outcome.NOT_PROBED)]
        assert resolution.attempts[0].candidate.reason == "bare"


def test_without_candidates_nothing_is_found():
    resolution = resolve(QUERY, [])
    assert not resolution.found
    with pytest.raises(CheckpointNotFoundError, match="no plugin knows"):
        resolution.require()


def match(format, confidence, root=""):
    return FormatMatch(format, confidence, "seen", root)


@pytest.mark.parametrize(
    ("claims", "best"),
    [
        ([("zip", 3)], "zip"),
        ([("zip", 2), ("other", 3)], "other"),
        ([("zip", 3), ("torch", 3)], "torch"),
        ([("zip", 3), ("trainer", 2)], "trainer"),
        ([("zip", 3), ("torch", 3), ("trainer", 3)], "trainer"),
        ([("torch", 3), ("torch", 3)], "torch"),
        ([("unowned", 3), ("zip", 1)], "unowned"),
    ],
)
def test_a_refinement_wins_over_its_base_and_then_the_surest_wins(claims, best):
    for order in permutations(claims):
        detection = weigh([match(format, Confidence(sure)) for format, sure in order], FORMATS)
        assert detection.best.format == best
        assert detection.rivals == ()


def test_equal_claims_are_rivals_and_none_wins():
    for order in permutations(["zip", "other"]):
        detection = weigh([match(format, Confidence.LIKELY) for format in order], FORMATS)
        assert detection.best is None
        assert [rival.format for rival in detection.rivals] == ["other", "zip"]


def test_members_do_not_compete_with_the_root():
    claims = [
        match("zip", Confidence.POSSIBLE),
        match("other", Confidence.CERTAIN, "b"),
        match("zip", Confidence(3), "a"),
    ]
    detection = weigh(claims, FORMATS)
    assert detection.best.format == "zip"
    assert [member.root for member in detection.members] == ["a", "b"]
    assert weigh(claims[1:], FORMATS).best is None


def test_bases_that_go_round_in_a_circle_refine_nothing():
    circle = (Format("a", "", base="b"), Format("b", "", base="a"), Format("self", "", base="self"))
    assert weigh([match("self", Confidence.LIKELY)], circle).best.format == "self"
    assert weigh([match("a", Confidence.LIKELY)], circle).best.format == "a"
    detection = weigh([match("b", Confidence.LIKELY), match("a", Confidence.LIKELY)], circle)
    assert [rival.format for rival in detection.rivals] == ["a", "b"]


def test_a_directory_where_a_file_belongs_ends_the_search(tmp_path, place):
    (tmp_path / "full_sft_512.pth").mkdir()
    wanted = Candidate(str(tmp_path / "full_sft_512.pth"), Priority.REMOTE, "remote folder", kind=LocationKind.FILE)
    resolution = resolve(QUERY, [wanted, Candidate(place("local", exists=True), Priority.LOCAL, "r")])
    assert outcomes(resolution) == [("full_sft_512.pth", Outcome.REJECTED), ("local", Outcome.NOT_PROBED)]
    with pytest.raises(CheckpointNotFoundError, match=r"full_sft_512\.pth: a directory, where a file belongs"):
        resolution.require()


@pytest.mark.parametrize(("rank", "taken"), [(Priority.ENVIRONMENT, True), (Priority.LOCAL, False)])
def test_a_candidate_that_is_not_quite_what_was_asked_for_is_warned_of_where_it_wins(rank, taken, place, caplog):
    pretrained = Candidate(place("env", exists=True), rank, "$CKPT", warning="is a pretrain file")
    remote = Candidate(place("remote", exists=True), Priority.REMOTE, "remote folder")

    class Proposes:
        @hookimpl
        def locate(self):
            return [pretrained, remote]

    manager = CkptPluginManager()
    manager.register(Proposes())
    with caplog.at_level("INFO", logger="ckpt_core"):
        resolution = manager.hooks.locate(query=QUERY)
    assert ("(is a pretrain file)" in resolution.explain()) is taken
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        f"{pretrained}: is a pretrain file"
    ] * taken
    logged = [r.getMessage() for r in caplog.records if r.levelname == "INFO"]
    assert logged == resolution.explain().splitlines()
