"""The servers that other tests stand on: each takes an object, and keeps to the conditions it is relied on for."""

import os
import subprocess
import sys

import pytest

from tests.servers import kept
from tests.servers.fault_proxy import fault_proxy
from tests.servers.range_server import range_server


@pytest.fixture(params=["s3", "gcs", "moto"])
def place(request):
    return request.getfixturevalue(request.param)


def test_an_object_is_put_found_and_read_in_ranges(place):
    url = place.put("folder/a.bin", b"0123456789")
    files = place.filesystem
    assert files.cat_file(url) == b"0123456789"
    assert files.cat_file(url, start=2, end=5) == b"234"
    assert place.names() == ["folder/a.bin"]


def test_the_second_writer_of_a_name_is_refused(place):
    url = place.put("a.bin", b"first")
    with pytest.raises(OSError):
        place.filesystem.pipe_file(url, b"second", mode="create")
    assert place.filesystem.cat_file(url) == b"first"
    place.filesystem.pipe_file(f"{place.url}/b.bin", b"x", mode="create")


def test_another_process_reaches_it_by_the_environment_alone(place):
    url = place.put("a.bin", b"0123456789")
    script = f"import fsspec; print(fsspec.open({url!r}).open().read())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **place.env}, timeout=60
    )
    assert done.stdout.strip() == "b'0123456789'", done.stderr


def test_a_bucket_that_is_missing_is_not_made(place):
    with pytest.raises(FileNotFoundError):
        place.filesystem.pipe_file(f"{place.url.partition(':')[0]}://no-such-bucket/a", b"x")


def test_a_bucket_of_moto_is_empty_at_the_start(moto):
    assert moto.names() == []
    moto.put("a", b"x")


test_it_is_empty_the_next_time_too = test_a_bucket_of_moto_is_empty_at_the_start


def test_a_server_that_cannot_start_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="no_such_server did not start"):
        kept.shared("tests.servers.no_such_server", tmp_path / "run", os.getpid(), lambda: True)


def test_a_sparse_file_is_served_in_ranges_and_listed_as_of_a_bucket(tmp_path, monkeypatch):
    import s3fs

    (tmp_path / "bucket" / "run").mkdir(parents=True)
    with open(tmp_path / "bucket" / "run" / "big.bin", "wb") as file:
        file.seek(10 << 30)
        file.write(b"end")
    with range_server(tmp_path) as server, fault_proxy(server.url) as proxy:
        files = s3fs.S3FileSystem(key="k", secret="s", endpoint_url=proxy.url, skip_instance_cache=True)
        assert files.find("bucket", detail=True)["bucket/run/big.bin"]["size"] == (10 << 30) + 3
        assert files.ls("bucket") == ["bucket/run"]
        assert files.cat_file("bucket/run/big.bin", start=10 << 30, end=(10 << 30) + 3) == b"end"
        assert proxy.received("GET", "big.bin") == 3
        with pytest.raises(FileNotFoundError):
            files.info("bucket/run/other.bin")
