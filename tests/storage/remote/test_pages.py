"""Listings of stores come a page at a time: a limit ends the paging, and a folder costs few questions."""

import pytest

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CheckpointNotFoundError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.listing import list_files, probe
from ckpt_core.storage.remote import pages

LISTED = r"list-type=2|/b/ckpt/o\?"


@pytest.fixture(params=["faulty_s3", "faulty_gcs"])
def place(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def many(place):
    below = place.behind.url.partition("://")[2]
    place.behind.filesystem.pipe({f"{below}/run/{number:03}.bin": b"x" * number for number in range(30)})
    place.proxy.clear()
    return f"{place.url}/run"


def test_the_limit_ends_the_paging(place, many):
    with knobs.override(listing_limit=10), pytest.raises(BudgetError, match="more than 10 files"):
        list_files(many)
    listed = place.proxy.asked("GET", LISTED)
    assert len(listed) == 1
    assert place.proxy.received("GET", LISTED) < 20_000


@pytest.mark.parametrize("page", [1000, 30, 29, 7])
def test_pages_together_are_the_listing(place, many, page, monkeypatch):
    monkeypatch.setattr(pages, "_PAGE", page)
    files = list_files(many)
    assert {path: entry.size for path, entry in files.entries.items()} == {f"{n:03}.bin": n for n in range(30)}
    assert len({entry.version for entry in files.entries.values()}) == 30
    assert len(place.proxy.asked("GET", LISTED)) == -(-30 // page)


def test_a_page_that_fails_for_a_moment_is_asked_again(place, many, monkeypatch):
    from tests.servers import faults

    monkeypatch.setattr(pages, "_PAGE", 7)
    place.proxy.rule(faults.status(503, "SlowDown"), method="GET", path=LISTED, first=2)
    assert len(list_files(many).entries) == 30


def test_a_folder_with_a_dot_and_a_file_without_one_are_what_they_are(place):
    dotted, plain = place.put("v1.5/a.bin", b"1"), place.put("weights", b"22")
    assert probe(dotted.rpartition("/")[0]) is LocationKind.DIRECTORY
    assert probe(plain) is LocationKind.FILE
    assert list_files(plain).entries["weights"].size == 2
    assert list(list_files(f"{place.url}/v1.5/").entries) == ["a.bin"]
    assert probe(f"{place.url}/weight") is None
    with pytest.raises(CheckpointNotFoundError):
        list_files(f"{place.url}/v1")


ODD = ["a b.bin", "per%cent", "plus+and&.bin", "ünï/kødé.bin", "q?x#y.bin", "=eq;semi,comma.bin", "tab\there.bin"]


@pytest.mark.parametrize("name", ODD)
def test_names_that_decode_oddly_are_listed_and_read_as_they_were_stored(place, name):
    below = place.behind.url.partition("://")[2]
    place.behind.filesystem.pipe_file(f"{below}/odd/{name}", name.encode())
    files = list_files(f"{place.url}/odd")
    assert list(files.entries) == [name]
    assert files.read(name) == name.encode()
