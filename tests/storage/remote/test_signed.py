"""Objects of S3 and GCS by our own questions: signed anew in time, and left to their clients behind a proxy."""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ckpt_core import knobs
from ckpt_core.errors import UnreachableError
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.remote import signed

DATA = bytes(range(256)) * 3000


def test_a_url_that_has_expired_is_signed_anew(faulty_s3, monkeypatch):
    monkeypatch.setattr(signed, "_SIGNED_FOR", 2)
    files = list_files(faulty_s3.put("a.bin", DATA))
    assert files.read("a.bin", 5, 10) == DATA[5:15]
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() - 3600)  # as a machine that slept
    time.sleep(3.1)
    assert files.read("a.bin", 100_000, 10) == DATA[100_000:100_010]
    statuses = [one.status for one in faulty_s3.proxy.asked("GET", r"a\.bin")]
    assert statuses == [206, 403, 206]


def test_a_bucket_is_read_in_ranges_of_our_own(request):
    for name in ("faulty_s3", "faulty_gcs"):
        place = request.getfixturevalue(name)
        files = list_files(place.put("a.bin", DATA))
        assert files.read("a.bin") == DATA
        (asked,) = place.proxy.asked("GET", r"a\.bin\?.*(X-Amz-Signature|alt=media)")
        assert asked.headers["accept-encoding"] == "identity" and asked.headers["range"] == f"bytes=0-{len(DATA) - 1}"


class Proxy(BaseHTTPRequestHandler):
    """Refuses everything, and notes what it is asked for."""

    def do_GET(self):
        self.server.log.append(self.path)
        self.send_error(403)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(("url", "variable"), [("s3", "AWS_ENDPOINT_URL_S3"), ("gs", "STORAGE_EMULATOR_HOST")])
def test_a_proxy_of_the_environment_is_asked_for_buckets_too(url, variable, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads, server.log = True, []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    values = {variable: "http://store.invalid", "HTTP_PROXY": f"http://127.0.0.1:{server.server_address[1]}"}
    values |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "NO_GCE_CHECK": "true"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for module, client in (("s3fs", "S3FileSystem"), ("gcsfs", "GCSFileSystem")):
        if module in sys.modules:
            getattr(sys.modules[module], client).clear_instance_cache()
    try:
        with knobs.override(remote_timeout=9), pytest.raises(UnreachableError):
            list_files(f"{url}://bucket/run")
        assert server.log and all(path.startswith("http://store.invalid/") for path in server.log)
    finally:
        server.shutdown()
        server.server_close()
