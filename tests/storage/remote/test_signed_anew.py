"""Filesystems that sign their own URLs: read by the ranged reader, asked for a new URL where the last was refused."""

import pytest
from fsspec import AbstractFileSystem

from ckpt_core import NoAnswerError, list_files
from ckpt_core.storage.remote.filesystems import served
from tests.servers.range_server import range_server

DATA = bytes(range(256)) * 1000


class Signing(AbstractFileSystem):
    """One file, `a/b.bin`; the first `wrong` URLs of it are refused, and the others are good."""

    protocol = "wandb"
    cachable = False
    signs_anew = True

    def __init__(self, url, wrong=0, signs=True):
        super().__init__()
        self.url, self.wrong, self.signs, self.asked = url, wrong, signs, []

    def info(self, path, **_):
        return {"name": path, "size": len(DATA), "type": "file"}

    def sign(self, path, expiration=100, *, fresh=False, **_):
        if not self.signs:
            raise NotImplementedError
        self.asked.append(fresh)
        return f"{self.url}/{'denied' if len(self.asked) <= self.wrong else 'b.bin'}"

    def cat_file(self, path, start=None, end=None, **_):
        return DATA[start:end]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    from tests.servers import range_server as module

    (tmp_path / "b.bin").write_bytes(DATA)
    plain = module._Handler.do_GET

    def refusing(handler):
        if handler.path == "/denied":
            handler._answer(403, b"Request has expired")
        else:
            plain(handler)

    monkeypatch.setattr(module._Handler, "do_GET", refusing)
    with range_server(tmp_path) as server:
        yield server.url


def test_its_urls_are_asked_for_ranges(stored):
    filesystem = Signing(stored)
    with served("wandb", filesystem):
        files = list_files("wandb://a/b.bin")
        assert files.read("b.bin", 1000, 5000) == DATA[1000:6000]
        assert files.read("b.bin") == DATA
    assert filesystem.asked == [False]


def test_a_refused_url_is_made_anew_once(stored):
    filesystem = Signing(stored, wrong=1)
    with served("wandb", filesystem):
        assert list_files("wandb://a/b.bin").read("b.bin", 0, 10) == DATA[:10]
    assert filesystem.asked == [False, True]


def test_a_url_that_is_refused_anew_is_no_answer(stored):
    filesystem = Signing(stored, wrong=9)
    with served("wandb", filesystem), pytest.raises(NoAnswerError, match=r"wandb://a/b\.bin: .*denied"):
        list_files("wandb://a/b.bin").read("b.bin")


def test_a_name_without_a_url_is_read_by_the_filesystem_itself(stored):
    filesystem = Signing(stored, signs=False)
    with served("wandb", filesystem):
        assert list_files("wandb://a/b.bin").read("b.bin", 5, 10) == DATA[5:15]
