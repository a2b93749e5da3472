"""The ranged reader: what goes with a question and where, how it goes on, and what of it is held."""

import logging
import os
import random
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from ckpt_core import knobs
from ckpt_core.errors import NoAnswerError, UnreachableError, UsageError
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.remote import connections
from ckpt_core.storage.remote.addresses import Address, ListedObject
from ckpt_core.storage.remote.questions import Questions, StatusError
from ckpt_core.storage.remote.ranges import RangeReader
from ckpt_core.storage.workers import run

NAME = "model.safetensors"
DATA = random.Random(3).randbytes(3 << 20)


@pytest.fixture
def server(http):
    with http.serve({NAME: DATA}) as running:
        yield running


@pytest.fixture
def other(http):
    with http.serve({NAME: DATA}) as running:
        yield running


def seen(fault, log):
    """The same fault, or none, with each question's headers and range noted."""

    def act(handler, data, start, end):
        log.append((handler.headers, start, end))
        (fault or type(handler).part)(handler, data, start, end)

    return act


def redirect(to, code=302):
    return lambda handler, data, start, end: handler.answer(code, data, b"", Location=to)


def read(source, offset=0, length=1000):
    reader, out = RangeReader(), bytearray(length)
    reader.read_into(Questions(ListedObject("it", source, len(DATA))), offset, memoryview(out))
    return bytes(out)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_credentials_never_follow_a_redirect_to_another_host(server, other, code):
    first, second = [], []
    server.faults[NAME] = seen(redirect(other.url(NAME), code), first)
    other.faults[NAME] = seen(None, second)
    address = Address(server.url(NAME, userinfo="me:hunter2@"), {"X-Token": "s3cr3t"})
    assert read(lambda fresh: address) == DATA[:1000]
    assert first[0][0]["Authorization"].startswith("Basic ") and first[0][0]["X-Token"] == "s3cr3t"
    assert "Authorization" not in second[0][0] and "X-Token" not in second[0][0]
    assert not any("hunter2" in f"{value}" or "s3cr3t" in f"{value}" for value in second[0][0].values())


def test_credentials_that_went_astray_do_not_come_back(server, other):
    log = []
    back = server.url("back")
    server.objects["back"] = DATA
    server.faults[NAME], server.faults["back"] = redirect(other.url(NAME)), seen(None, log)
    other.faults[NAME] = redirect(back)
    assert read(lambda fresh: Address(server.url(NAME), {"Authorization": "Bearer s3cr3t"})) == DATA[:1000]
    assert "Authorization" not in log[0][0]


def test_credentials_stay_on_their_own_host(server):
    log = []
    server.objects["moved"] = DATA
    server.faults[NAME], server.faults["moved"] = redirect("/moved"), seen(None, log)
    assert read(lambda fresh: Address(server.url(NAME), {"X-Token": "s3cr3t"})) == DATA[:1000]
    assert log[0][0]["X-Token"] == "s3cr3t"


def test_where_a_redirect_led_is_asked_for_the_next_range_until_it_refuses(http, server, other):
    server.faults[NAME] = redirect(other.url(NAME))
    reader, out = RangeReader(), memoryview(bytearray(10))
    address = Address(server.url(NAME))
    questions = Questions(ListedObject("it", lambda fresh: address, len(DATA)))
    for offset in (0, 1000, 5000):
        reader.read_into(questions, offset, out)
        assert bytes(out) == DATA[offset : offset + 10]
    assert (len(server.requests), len(other.requests)) == (1, 3)
    server.faults.clear()
    other.faults[NAME] = http.status(403)  # a signed URL that has expired
    reader.read_into(questions, 9000, out)
    assert bytes(out) == DATA[9000:9010]


@pytest.mark.parametrize("to", ["ftp://host/x", "file:///etc/passwd", "http://[x/y", "http://host:port/"])
def test_a_redirect_to_what_is_no_web_address_is_an_error(server, to):
    server.faults[NAME] = redirect(to)
    with pytest.raises(NoAnswerError, match="no web address"):
        read(lambda fresh: Address(server.url(NAME)))


def test_redirects_without_an_end_are_an_error(server):
    server.faults[NAME] = redirect(f"/{NAME}")
    with pytest.raises(UnreachableError, match="redirected more than"):
        list_files(server.url(NAME))


@pytest.mark.parametrize("code", [400, 401, 403])
def test_an_address_that_has_expired_is_asked_for_anew_once(http, server, code):
    server.objects["fresh"] = DATA
    server.faults[NAME] = http.status(code)
    asked = []

    def source(fresh):
        asked.append(fresh)
        return Address(server.url("fresh" if fresh else NAME))

    assert read(source) == DATA[:1000]
    assert asked == [False, True]
    server.faults["fresh"] = http.status(code)
    with pytest.raises(StatusError) as caught:
        read(source)
    assert (caught.value.status, str(caught.value), asked) == (code, "", [False, True] * 2)


def test_reads_in_turn_are_few_questions_and_each_byte_comes_once(server):
    log = []
    files = list_files(server.url(NAME))
    server.faults[NAME] = seen(None, log)
    step = 64 << 10
    got = b"".join(files.read(NAME, at, step) for at in range(0, len(DATA), step))
    assert got == DATA
    assert len(log) <= 8
    spans = sorted((start, end) for _, start, end in log)
    assert spans[0][0] == 0 and spans[-1][1] == len(DATA)
    assert all(first[1] == second[0] for first, second in pairwise(spans))


def test_reads_here_and_there_ask_for_no_more_than_was_asked(server):
    log = []
    files = list_files(server.url(NAME))
    server.faults[NAME] = seen(None, log)
    for at in (2_000_000, 100, 1_000_000, 3000):
        assert files.read(NAME, at, 500) == DATA[at : at + 500]
    assert [end - start for _, start, end in log] == [500] * 4


def test_near_ranges_are_one_question_and_far_ones_are_asked_at_once(server):
    log = []
    files = list_files(server.url(NAME))
    waiting, together = threading.Semaphore(0), threading.Event()

    def meets_another(handler, data, first, last):
        """Answer once a second question is there: questions one after the other would meet none."""
        together.set() if waiting.acquire(blocking=False) else waiting.release()
        assert together.wait(30)
        handler.part(data, first, last)

    server.faults[NAME] = seen(meets_another, log)
    near = [ByteRange(NAME, 40_000 * number, 100) for number in (2, 0, 1, 1)]
    far = [ByteRange(NAME, 1_000_000 + 150_000 * number, 64) for number in range(8)]
    assert list(files.read_many([*near, *far])) == [DATA[r.offset : r.end] for r in [*near, *far]]
    assert len(log) == 9
    assert (0, 80_100) in [(first, last) for _, first, last in log]


def test_a_connection_serves_many_questions_and_one_that_was_closed_is_replaced(server):
    ports = []
    files = list_files(server.url(NAME))
    server.faults[NAME] = lambda h, d, s, e: (ports.append(h.client_address), h.part(d, s, e))
    for at in (5, 1_000_000, 77):
        files.read(NAME, at, 10)
    assert len(set(ports)) == 1
    server.faults[NAME] = lambda h, d, s, e: (h.part(d, s, e), setattr(h, "close_connection", True))
    assert files.read(NAME, 9, 10) == DATA[9:19]
    assert files.read(NAME, 500_000, 10) == DATA[500_000:500_010]


def test_what_breaks_off_goes_on_from_where_it_broke(http, server, monkeypatch):
    from ckpt_core.storage.remote import ranges, retries

    monkeypatch.setattr(ranges, "_STEP", 64 << 10)
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.01)
    log = []

    def breaks(handler, data, start, end):
        body = data[start : min(start + (300 << 10), end)]
        handler.part(data, start, end, body=body, **{"Content-Length": end - start})
        handler.close_connection = len(body) < end - start

    files = list_files(server.url(NAME))
    server.faults[NAME] = seen(breaks, log)
    assert files.read(NAME) == DATA
    assert len(log) > 5, "more often than anybody would try without progress"
    assert sum(end - start for _, start, end in log[:2]) < 2 * len(DATA)


def test_a_trickle_ends_at_the_deadline_however_much_was_asked(http, server):
    with knobs.override(remote_timeout=1):
        files = list_files(server.url(NAME))
        server.faults[NAME] = http.drip
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="no answer within 1 s"):
            files.read(NAME)
        assert time.monotonic() - start < 60


def test_a_worker_that_nobody_waits_for_ends_though_its_server_is_silent(server):
    """As after an interrupt: the deadline, here ten minutes, is for those who wait."""
    asked, released, gave_up = threading.Event(), threading.Event(), []

    def silent(handler, data, start, end):
        asked.set()
        gave_up.extend([] if released.wait(60) else ["the server, before the worker"])
        handler.close_connection = True

    def work(share):
        if share == ["silent"]:
            return files.read(NAME)
        assert asked.wait(60)
        raise LookupError("what the other one fails with")

    files = list_files(server.url(NAME))
    server.faults[NAME] = silent
    try:
        with knobs.override(remote_timeout=600), pytest.raises(LookupError):
            run(work, [["silent"], ["failing"]])
        assert gave_up == []
    finally:
        released.set()


def test_a_large_read_is_shared_out_in_contiguous_stretches(http, monkeypatch):
    from ckpt_core.storage.remote import ranges

    monkeypatch.setattr(ranges, "_SHARE", 1 << 20)
    log = []
    with http.serve({NAME: DATA}) as server, knobs.override(remote_connections=3):
        files = list_files(server.url(NAME))
        server.faults[NAME] = seen(None, log)
        assert files.read(NAME) == DATA
    assert sorted((start, end) for _, start, end in log) == [(n << 20, (n + 1) << 20) for n in range(3)]


class Proxy(BaseHTTPRequestHandler):
    """Answers in the place of every server, and notes what it is asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.log.append((self.path, dict(self.headers)))
        start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
        body = DATA[int(start) : int(end) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(DATA)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        self.server.log.append((self.path, dict(self.headers)))
        self.send_error(502)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads, server.log = True, []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def address_of(proxy, userinfo=""):
    return f"http://{userinfo}127.0.0.1:{proxy.server_address[1]}"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_asked(proxy, name, monkeypatch):
    monkeypatch.setenv(name, address_of(proxy, "me:hunter2@"))
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    files = list_files(f"http://weights.invalid:8080/{NAME}?sig=1")
    assert files.read(NAME, 3, 5) == DATA[3:8]
    path, headers = proxy.log[-1]
    assert path == f"http://weights.invalid:8080/{NAME}?sig=1"
    assert headers["Host"] == "weights.invalid:8080"
    assert headers["Proxy-Authorization"].startswith("Basic ")


def test_https_goes_through_a_tunnel_and_a_proxy_that_refuses_is_exit_5(proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", address_of(proxy, "me:hunter2@"))
    with knobs.override(remote_timeout=3), pytest.raises(UnreachableError) as caught:
        list_files(f"https://weights.invalid/{NAME}")
    assert proxy.log[0][0] == "weights.invalid:443"
    assert "hunter2" not in f"{caught.value!r} {vars(caught.value)}"


def test_no_proxy_is_kept_to(proxy, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", address_of(proxy))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert list_files(server.url(NAME)).read(NAME, 0, 5) == DATA[:5]
    assert not proxy.log


def test_a_kind_of_proxy_that_is_not_spoken_to_is_a_usage_error(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "socks5://me:hunter2@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UsageError, match="not a proxy") as caught:
        list_files("http://weights.invalid/x")
    assert "hunter2" not in str(caught.value)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate for 127.0.0.1 that vouches for itself, with its key."""
    folder = tmp_path_factory.mktemp("authority")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def secure(http, authority, monkeypatch):
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with http.serve({NAME: DATA}) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_of_ones_own_is_trusted_where_it_is_named(secure, authority, name, monkeypatch):
    url = secure.url(NAME).replace("http:", "https:")
    monkeypatch.setenv(name, str(authority / "cert.pem"))
    assert list_files(url).read(NAME, 5, 2_000_000) == DATA[5:2_000_005]


def test_a_certificate_that_nobody_vouches_for_is_an_error_at_once(secure):
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="certificate is not one that this machine trusts; name a file"):
        list_files(secure.url(NAME).replace("http:", "https:"))
    assert time.monotonic() - start < 60


def test_a_file_of_authorities_that_is_none_is_a_usage_error(secure, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    with pytest.raises(UsageError, match="holds no certificates"):
        list_files(secure.url(NAME).replace("http:", "https:"))


def test_https_is_never_redirected_to_http(secure, authority, server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "cert.pem"))
    secure.faults[NAME] = redirect(server.url(NAME))
    with pytest.raises(UnreachableError, match="from https to http"):
        list_files(secure.url(NAME).replace("http:", "https:"))
    assert not server.requests


def test_an_address_shows_nothing_of_itself(caplog):
    caplog.set_level(logging.DEBUG)
    address = Address("https://me:hunter2@host/x?sig=s3cr3t", {"Authorization": "Bearer s3cr3t"})
    assert "hunter2" not in repr(address) and "s3cr3t" not in repr(ListedObject("it", lambda fresh: address))


def test_a_forked_process_takes_no_connection_of_its_parent(server):
    list_files(server.url(NAME)).read(NAME, 0, 10)
    assert connections.idle._kept
    child = os.fork()
    if not child:
        os._exit(1 if connections.idle._kept else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert connections.idle._kept
