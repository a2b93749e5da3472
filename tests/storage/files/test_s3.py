"""Reading from a real S3 server: what is there, what came since, what is refused, and who does not answer."""

import socket
import time

import numpy as np
import pytest
import safetensors.numpy

import ckpt_core
from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, UnreachableError, UsageError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.listing import list_files, probe


def test_objects_and_folders_are_told_apart(s3):
    file = s3.put("run/a.bin", b"0123456789")
    assert probe(file) is LocationKind.FILE
    assert probe(f"{s3.url}/run") is LocationKind.DIRECTORY
    for absent in (f"{s3.url}/run/b.bin", f"{s3.url}/ru", "s3://no-such-bucket/a.bin"):
        assert probe(absent) is None
        with pytest.raises(CheckpointNotFoundError):
            list_files(absent)


def test_ranges_are_the_bytes_that_were_asked(s3):
    s3.put("run/a.bin", b"0123456789")
    s3.put("run/step/b.bin", b"abcdef")
    files = list_files(f"{s3.url}/run")
    assert {path: entry.size for path, entry in files.entries.items()} == {"a.bin": 10, "step/b.bin": 6}
    ranges = [ByteRange("step/b.bin", 4, 2), ByteRange("a.bin", 0, 3), ByteRange("a.bin", 5, 0)] * 20
    assert list(files.read_many(ranges)) == [b"ef", b"012", b""] * 20
    assert files.beside("nothing.json") is None


def test_what_came_or_went_since_the_last_listing_is_noticed(s3):
    first = s3.put("run/a.bin", b"a")
    assert list(list_files(f"{s3.url}/run").entries) == ["a.bin"]
    second = s3.put("run/b.bin", b"b")
    assert probe(second) is LocationKind.FILE
    s3.filesystem.rm_file(first)
    assert probe(first) is None
    s3.put("run/b.bin", b"longer")
    assert list_files(second).entries["b.bin"].size == 6
    assert list(list_files(f"{s3.url}/run").entries) == ["b.bin"]


def test_an_object_that_became_shorter_is_no_object_of_the_listing(s3):
    files = list_files(s3.put("a.bin", b"0123456789"))
    s3.put("a.bin", b"01")
    with pytest.raises(UnreachableError):
        files.read("a.bin")


def content_of(value):
    return safetensors.numpy.save({name: np.full(1000, value, np.float32) for name in ("a", "b", "c")})


class StopAtTheEnd:
    """A progress that stops the writing when all tensors are noted in the journal."""

    def begin(self, total):
        self.left = total

    def advance(self, count):
        self.left -= count
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["run/model.safetensors", "run"])
@pytest.mark.parametrize("changed", [False, True])
def test_a_stopped_conversion_is_gone_on_with_from_the_same_object_only(s3, tmp_path, place, changed):
    made = tmp_path / "made.safetensors"
    s3.put("run/model.safetensors", content_of(1))
    works = []
    for value in (1, 2 if changed else 1):
        if value == 2:
            s3.put("run/model.safetensors", content_of(2))
        with pytest.raises(KeyboardInterrupt):
            ckpt_core.convert(f"{s3.url}/{place}", str(made), progress=StopAtTheEnd())
        works.append((tmp_path / ".made.safetensors.ckpt-stage-convert" / "journal").read_bytes().splitlines()[0])
    assert (works[0] != works[1]) is changed
    ckpt_core.convert(f"{s3.url}/{place}", str(made))
    assert safetensors.numpy.load_file(made)["a"][0] == (2 if changed else 1)


def test_a_wrong_key_is_denied_not_absent(s3, monkeypatch):
    file = s3.put("a.bin", b"x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    for ask in (probe, list_files):
        with pytest.raises(UnreachableError, match="access denied") as caught:
            ask(file)
        assert caught.value.exit_code == 5
        assert "another" not in str(caught.value)


def test_a_server_that_is_down_is_said_within_the_deadline(s3, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free.getsockname()[1]}")
    start = time.monotonic()
    with knobs.override(remote_timeout=2), pytest.raises(UnreachableError):
        probe(f"{s3.url}/a.bin")
    assert time.monotonic() - start < 60


def test_a_server_that_never_answers_is_left_at_the_deadline(s3, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel connects, and nobody accepts
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with knobs.override(remote_timeout=1), pytest.raises(UnreachableError, match="no answer within 1 s"):
            probe(f"{s3.url}/a.bin")
        assert time.monotonic() - start < 60


def test_a_name_that_no_bucket_can_have_is_the_askers_error(s3):
    with pytest.raises(UsageError, match="bucket"):
        probe("s3://no bucket!/a.bin")
