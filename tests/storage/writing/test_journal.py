import json
import os

import pytest

from ckpt_core.errors import UnreachableError
from ckpt_core.schema.plans import Written
from ckpt_core.storage.writing import journal
from ckpt_core.storage.writing.journal import Journal, begin, belongs, finished_by_all

FIRST, SECOND = ("model", "a"), ("model", "b.ключ\n")
SEEN = Written("0" * 32, "1" * 32, (7, 0))


@pytest.fixture
def path(tmp_path):
    begin(str(tmp_path / "journal"), "digest")
    return str(tmp_path / "journal")


@pytest.fixture
def data(tmp_path):
    descriptor = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    yield {"data": descriptor}
    os.close(descriptor)


def finished(path):
    Journal(path, {}).close()
    return finished_by_all(path)


def test_a_journal_is_of_one_work(path, tmp_path):
    assert belongs(path, "digest")
    assert not belongs(path, "other")
    assert not belongs(path, "dig")
    assert not belongs(str(tmp_path / "none"), "digest")


def test_what_is_finished_is_known_to_the_next_run(path, data):
    book = Journal(path, data)
    book.add(FIRST, SEEN, 10)
    book.add(SECOND, SEEN, 10)
    book.close()
    assert finished(path) == {FIRST: SEEN, SECOND: SEEN}


def test_lines_wait_until_enough_is_written(path, data, monkeypatch):
    monkeypatch.setattr(journal, "_SYNC_AFTER", 20)
    book = Journal(path, data)
    book.add(FIRST, SEEN, 10)
    assert finished(path) == {}
    book.add(SECOND, SEEN, 10)
    assert set(finished(path)) == {FIRST, SECOND}
    book.close()


def test_a_line_torn_anywhere_is_left_out_and_written_over(path, data):
    book = Journal(path, data)
    book.add(FIRST, SEEN, 10)
    book.finish()
    whole = os.path.getsize(path)
    book.add(SECOND, SEEN, 10)
    book.close()
    with open(path, "rb") as file:
        text = file.read()
    for size in range(whole, len(text)):
        for tail in (b"", b"\0\0\0", b"\0\n" + json.dumps([*SECOND, "x", "x", [0]]).encode() + b"\n"):
            with open(path, "wb") as file:
                file.write(text[:size] + tail)
            assert finished(path) == {FIRST: SEEN}
            book = Journal(path, data)
            book.add(SECOND, SEEN, 10)
            book.close()
            with open(path, "rb") as file:
                assert file.read() == text


def test_after_a_sync_that_failed_nothing_more_is_noted(path, data, monkeypatch, caplog):
    """The next one may succeed although bytes are lost."""
    real = os.fsync
    failures = [OSError(5, "Input/output error")]

    def failing(descriptor):
        if failures:
            raise failures.pop()
        real(descriptor)

    book = Journal(path, data)
    book.add(FIRST, SEEN, 10)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UnreachableError):
        book.finish()
    book.add(SECOND, SEEN, 10)
    book.close()
    assert finished(path) == {}
