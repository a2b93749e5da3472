"""A web server on loopback for the files of a folder: ranges, and S3's listing of what is below a folder.

Files may be sparse, so that a checkpoint of ten gigabytes takes none. A file `bucket/x` is `http://…/bucket/x`, and
`s3://bucket/x` for a client whose endpoint this is; signatures are not looked at. For a log of the requests, or faults,
put a `fault_proxy` in front.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class RangeServer(ThreadingHTTPServer):
    """A running server of a folder."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is none of the server's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = parse_qs(asked.query)
        path = self.server.root / unquote(asked.path).strip("/")
        if "list-type" in query:
            self._answer(200, _listing(path, query), **{"Content-Type": "application/xml"})
        elif path.is_file():
            self._file(path)
        else:
            body = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"
            self._answer(404, body, **{"Content-Type": "application/xml"})

    do_HEAD = do_GET  # noqa: N815

    def _file(self, path: Path) -> None:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            end = min(int(asked[2]) + 1, found.st_size) if asked and asked[2] else found.st_size
            if start >= found.st_size and asked:
                self._answer(416, b"", **{"Content-Range": f"bytes */{found.st_size}"})
                return
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{found.st_size}")
            self.send_header("Content-Length", str(end - start))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", _etag(found))
            self.send_header("Last-Modified", self.date_time_string(int(found.st_mtime)))
            self.end_headers()
            self.wfile.flush()
            while start < end and self.command != "HEAD":
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args) -> None:
        pass


def _listing(bucket: Path, query: dict[str, list[str]]) -> bytes:
    """ListObjectsV2 in a single page. Source: Amazon S3 API reference."""
    prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
    files = sorted(str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file())
    keys, folders = [], set()
    for key in (key for key in files if key.startswith(prefix)):
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            folders.add(prefix + rest[: rest.index(delimiter) + 1])
        else:
            keys.append(key)
    shown = "".join(_shown(bucket, key) for key in keys)
    shown += "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{escape(bucket.name)}</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<KeyCount>{len(keys) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>{shown}</ListBucketResult>"
    ).encode()


def _shown(bucket: Path, key: str) -> str:
    found = (bucket / key).stat()
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>{escape(_etag(found))}</ETag><Size>{found.st_size}</Size></Contents>"
    )


def _etag(found: os.stat_result) -> str:
    return f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'


@contextmanager
def range_server(root: Path) -> Iterator[RangeServer]:
    """A running server of a folder; it ends with the block."""
    server = RangeServer(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
