"""The proxy: what passes is what was sent, and each fault is what its name says."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.servers import faults
from tests.servers.fault_proxy import fault_proxy
from tests.servers.range_server import range_server

DATA = bytes(range(256)) * 3500


@pytest.fixture
def proxy(tmp_path):
    (tmp_path / "a.bin").write_bytes(DATA)
    with range_server(tmp_path) as server, fault_proxy(server.url) as proxy:
        yield proxy


def get(proxy, *, timeout=60, **headers):
    with urllib.request.urlopen(urllib.request.Request(f"{proxy.url}/a.bin", headers=headers), timeout=timeout) as file:
        return file.read()


def test_what_passes_is_what_was_sent_and_is_logged(proxy):
    assert get(proxy) == DATA
    assert get(proxy, Range="bytes=10-19") == DATA[10:20]
    assert [(one.method, one.path, one.status) for one in proxy.log] == [
        ("GET", "/a.bin", 200),
        ("GET", "/a.bin", 206),
    ]
    assert proxy.log[1].headers["range"] == "bytes=10-19"
    assert proxy.received() == len(DATA) + 10


def test_a_rule_takes_the_requests_that_it_counts_to(proxy):
    proxy.rule(faults.status(503, "SlowDown"), method="GET", path=r"a\.bin", first=2, last=3)
    proxy.rule(faults.status(500), method="PUT")
    codes = []
    for _ in range(4):
        try:
            get(proxy)
            codes.append(200)
        except urllib.error.HTTPError as error:
            assert b"SlowDown" in error.read()
            codes.append(error.code)
    assert codes == [200, 503, 503, 200]
    assert [one.fault for one in proxy.log] == ["", "status", "status", ""]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (faults.reset, ConnectionResetError),
        (faults.lost_answer, ConnectionResetError),
        (faults.cut(1000), (http.client.IncompleteRead, ConnectionResetError)),
        (faults.wrong_length(7), http.client.IncompleteRead),
        (faults.silent, TimeoutError),
        (faults.stall(1000), TimeoutError),
    ],
)
def test_a_fault_breaks_the_answer_as_it_says(proxy, fault, raised):
    proxy.rule(fault)
    with pytest.raises(raised):
        get(proxy, timeout=0.5)
    assert get(proxy) == DATA


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (faults.shorter(7), DATA[:-7]),
        (faults.flip(300_000), DATA[:300_000] + bytes([DATA[300_000] ^ 1]) + DATA[300_001:]),
        (faults.page, b"<html><title>Log in</title><p>Please log in to go on.</html>"),
    ],
)
def test_a_fault_gives_another_answer_without_a_sign(proxy, fault, answer):
    proxy.rule(fault)
    assert get(proxy) == answer


@pytest.mark.parametrize("fault", [faults.delay(0.3), faults.late_answer(0.3)])
def test_a_slow_answer_is_slow(proxy, fault):
    proxy.rule(fault)
    start = time.monotonic()
    assert get(proxy) == DATA
    assert time.monotonic() - start >= 0.3


def test_something_can_happen_before_and_after_a_request(proxy, tmp_path):
    proxy.rule(faults.before(lambda: (tmp_path / "a.bin").write_bytes(b"new")))
    proxy.rule(faults.after(lambda: (tmp_path / "a.bin").write_bytes(b"newer")), first=2)
    assert [get(proxy), get(proxy), get(proxy)] == [b"new", b"new", b"newer"]


def test_a_client_is_killed_at_its_second_request(proxy):
    script = (
        f"import urllib.request as r\nfor _ in range(9): print(len(r.urlopen('{proxy.url}/a.bin').read()), flush=True)"
    )
    client = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    proxy.rule(faults.kill(lambda: client.pid), first=2)
    assert client.communicate(timeout=120)[0].split() == [str(len(DATA))]
    assert client.returncode == -signal.SIGKILL
    assert len(proxy.log) == 2


def test_several_clients_are_served_at_once(proxy):
    together = threading.Barrier(8, timeout=120)
    proxy.rule(faults.before(together.wait), last=None)
    threads = [threading.Thread(target=get, args=(proxy,), kwargs={"timeout": 120}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not together.broken
    assert proxy.received() == 8 * len(DATA)


@pytest.fixture(params=["faulty_s3", "faulty_gcs"])
def faulty(request, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return request.getfixturevalue(request.param)


def put_once(faulty, data):
    """Put `a.bin` by a client that does not ask again, as gcsfs does for half a minute."""
    if "s3" in faulty.url:
        client = faulty.filesystem
        client.retries = 1
        client.pipe_file(f"{faulty.url}/a.bin", data)
        return
    bucket, _, folder = faulty.url.removeprefix("gs://").partition("/")
    place = f"{faulty.proxy.url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={folder}/a.bin"
    urllib.request.urlopen(urllib.request.Request(place, data, method="POST"), timeout=5).close()


def of_puts(faulty):
    return {"method": "PUT", "path": r"a\.bin"} if "s3" in faulty.url else {"method": "POST", "path": "uploadType"}


def stored(faulty):
    return faulty.behind.filesystem.cat_file(f"{faulty.url}/a.bin")


def test_a_store_takes_what_was_signed_for_the_proxy(faulty):
    put_once(faulty, DATA)
    assert stored(faulty) == DATA
    assert faulty.filesystem.cat_file(f"{faulty.url}/a.bin") == DATA
    assert faulty.proxy.sent(**of_puts(faulty)) >= len(DATA)
    assert faulty.proxy.received("GET", "a.bin") == len(DATA)


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # gcsfs does
def test_an_object_of_many_parts_goes_through_the_proxy_only(faulty):
    big = DATA * 14
    faulty.filesystem.pipe_file(f"{faulty.url}/a.bin", big, chunksize=6 << 20)
    assert faulty.proxy.sent("PUT|POST") >= len(big)
    assert stored(faulty) == big


def test_a_put_whose_answer_is_lost_was_done(faulty):
    faulty.proxy.rule(faults.lost_answer, **of_puts(faulty), last=None)
    with pytest.raises(Exception):  # noqa: B017 - a client's own
        put_once(faulty, b"x")
    assert stored(faulty) == b"x"


@pytest.mark.parametrize("fault", [faults.cut_sent(1000), faults.reset, faults.status(503, "SlowDown")])
def test_a_put_that_never_came_was_not_done(faulty, fault):
    faulty.proxy.rule(fault, **of_puts(faulty), last=None)
    with pytest.raises(Exception):  # noqa: B017 - a client's own
        put_once(faulty, DATA)
    assert faulty.behind.names() == []


def test_a_bit_that_flips_on_the_way_up_is_noticed_where_a_checksum_was_sent(faulty):
    """s3fs sends one, which SeaweedFS compares."""
    faulty.proxy.rule(faults.flip_sent(500), **of_puts(faulty), last=None)
    if "s3" in faulty.url:
        with pytest.raises(OSError):
            put_once(faulty, DATA)
        assert faulty.behind.names() == []
    else:
        put_once(faulty, DATA)
        assert stored(faulty) != DATA


def test_the_proxy_ends_with_clients_that_still_wait(tmp_path):
    with fault_proxy("http://127.0.0.1:9") as proxy:
        proxy.rule(faults.silent)
        waiting = subprocess.Popen([sys.executable, "-c", f"import urllib.request as r; r.urlopen('{proxy.url}')"])
        while not proxy.log:
            time.sleep(0.01)
    os.kill(waiting.pid, signal.SIGKILL)
    waiting.wait()
