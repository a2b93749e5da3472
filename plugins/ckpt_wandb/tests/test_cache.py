"""The cache that runs on a machine share: nothing comes twice, nothing in it is trusted, and it ends somewhere."""

import hashlib
import os
from base64 import b64encode
from pathlib import Path

import pytest
from ckpt_wandb import download
from ckpt_wandb.artifacts import Entry
from ckpt_wandb.cache import LIMIT, Cache, shared_cache

from ckpt_core import UsageError
from tests.servers.wandb.samples import safetensors, trainer_step


@pytest.fixture
def shared(project, tmp_path, monkeypatch):
    """The project, and a cache of the test's own."""
    monkeypatch.delenv("CKPT_WANDB_CACHE_BYTES")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    return project


def entry(data):
    return Entry("x.bin", len(data), b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode())


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize("algorithm", ["MD5", "XXH128"])
def test_what_was_downloaded_once_comes_from_the_cache_to_every_other_folder(shared, folder_of, tmp_path, algorithm):
    files = trainer_step(400) | {"empty.txt": b""}
    shared.log("m", folder_of(files), digest_algorithm=algorithm)
    first = download(shared.url("m:v0"), tmp_path / "first")
    assert (first.received, first.kept) == (sum(map(len, files.values())), 0)
    shared.forget()
    second = download(shared.url("m:v0"), tmp_path / "second")
    assert (second.received, second.kept) == (0, first.received)
    assert second.verified == first.verified
    assert contents(tmp_path / "second") == files
    assert "file" not in shared.asked()


def test_another_version_asks_only_for_what_changed(shared, folder_of, tmp_path):
    shared.log("m", folder_of({"model.safetensors": safetensors(1), "config.json": b"{}"}))
    shared.log("m", folder_of({"model.safetensors": safetensors(2), "config.json": b"{}"}))
    download(shared.url("m:v0"), tmp_path / "old")
    done = download(shared.url("m:v1"), tmp_path / "new")
    assert (done.received, done.kept) == (len(safetensors(2)), 2)
    assert contents(tmp_path / "new")["model.safetensors"] == safetensors(2)


@pytest.mark.parametrize("how", ["in the cache", "through a download"])
def test_what_was_changed_is_found_out_and_asked_for_again(shared, folder_of, tmp_path, how):
    """A training that writes over what it downloaded writes over the cache's file as well: it is the same."""
    data = safetensors(3)
    shared.log("m", folder_of({"model.safetensors": data}))
    download(shared.url("m:v0"), tmp_path / "first")
    held = next((tmp_path / "cache" / "ckpt").rglob("data"))
    target = held if how == "in the cache" else tmp_path / "first" / "model.safetensors"
    with target.open("r+b") as file:
        file.write(b"changed")
    assert held.read_bytes() != data
    done = download(shared.url("m:v0"), tmp_path / "second")
    assert (done.received, contents(tmp_path / "second")) == (len(data), {"model.safetensors": data})
    assert next((tmp_path / "cache" / "ckpt").rglob("data")).read_bytes() == data


def test_a_file_of_the_cache_and_one_that_was_taken_are_not_the_same(shared, folder_of, tmp_path):
    shared.log("m", folder_of({"a.bin": b"abc"}))
    download(shared.url("m:v0"), tmp_path / "first")
    download(shared.url("m:v0"), tmp_path / "second")
    (tmp_path / "second" / "a.bin").write_bytes(b"xyz")
    assert contents(download(shared.url("m:v0"), tmp_path / "third").folder) == {"a.bin": b"abc"}


def test_it_holds_no_more_than_its_limit_and_lets_go_of_what_was_used_longest_ago(tmp_path):
    cache = Cache(tmp_path / "cache", 300)
    datas = [bytes([number]) * 100 for number in range(4)]
    (tmp_path / "own").mkdir()
    for number, data in enumerate(datas):
        (tmp_path / "own" / f"{number}").write_bytes(data)
        cache.keep(entry(data), tmp_path / "own" / f"{number}")
        for place in (tmp_path / "cache").glob("*/*/*"):  # an hour passes
            os.utime(place, (place.stat().st_atime, place.stat().st_mtime - 3600))
        if number == 2:
            assert cache.take(entry(datas[0]), tmp_path / "taken")
    assert cache.nbytes() == 300
    assert [cache.take(entry(data), tmp_path / "taken") for data in datas] == [True, False, True, True]
    (tmp_path / "own" / "large").write_bytes(b"x" * 301)
    cache.keep(entry(b"x" * 301), tmp_path / "own" / "large")
    assert cache.nbytes() == 300


def test_its_limit_is_a_number_of_bytes_and_none_means_no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path))
    for text, limit in (("", LIMIT), ("5", 5)):
        monkeypatch.setenv("CKPT_WANDB_CACHE_BYTES", text)
        assert vars(shared_cache()) == {"_folder": tmp_path / "ckpt", "_limit": limit}
    monkeypatch.setenv("CKPT_WANDB_CACHE_BYTES", "0")
    assert shared_cache() is None
    monkeypatch.setenv("CKPT_WANDB_CACHE_BYTES", "10G")
    with pytest.raises(UsageError, match="CKPT_WANDB_CACHE_BYTES='10G': not a number of bytes"):
        shared_cache()


@pytest.fixture
def held(shared, folder_of, command, tmp_path):
    """The cache's file of a version that one copy brought, and the version's files."""
    files = {"model.safetensors": safetensors(5), "config.json": b"{}", "empty.txt": b""}
    shared.log("m", folder_of(files))
    assert command("copy", shared.url("m:v0"), str(tmp_path / "first"))[0] == 0
    assert {name: contents(tmp_path / "first")[name] for name in files} == files
    shared.forget()
    return next(path for path in (tmp_path / "cache" / "ckpt").rglob("data") if path.read_bytes() == safetensors(5))


def test_a_copy_takes_what_an_earlier_one_brought_and_shares_no_file_with_the_cache(shared, held, command, tmp_path):
    code, out, err = command("copy", shared.url("m:v0"), str(tmp_path / "second"))
    assert (code, "2 parts not moved: a cache on this machine had them; they were proved anew" in out) == (0, True), err
    assert "source checked by the md5 of each file at its place" in out
    assert contents(tmp_path / "second") == contents(tmp_path / "first")
    before = len(shared.asked())
    assert download(shared.url("m:v0"), tmp_path / "third").received == 0
    assert before == len(shared.asked())
    own = [tmp_path / name / "model.safetensors" for name in ("first", "second", "third")]
    assert len({path.stat().st_ino for path in (*own, held)}) == 4


@pytest.mark.parametrize("damage", [b"changed", b""])
def test_a_copy_asks_again_for_what_was_damaged_in_the_cache(shared, held, command, tmp_path, damage):
    held.write_bytes(damage + held.read_bytes()[len(damage) :] if damage else b"short")
    code, out, err = command("copy", shared.url("m:v0"), str(tmp_path / "second"), "--json")
    assert (code, '"moved": 1' in out, '"cached": 1' in out) == (0, True, True), err
    assert contents(tmp_path / "second") == contents(tmp_path / "first")
    assert held.read_bytes() == safetensors(5)


def test_a_cache_takes_no_copy_that_would_fill_the_disk(tmp_path, monkeypatch):
    """A cache is worth less than room for the next checkpoint."""
    (tmp_path / "own").write_bytes(b"x" * 100)
    cache = Cache(tmp_path / "cache", 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 199}))
    cache.keep_copy(entry(b"x" * 100), tmp_path / "own")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
