"""The HTTP side: keys, signed URLs that expire, byte ranges, faults, and a record of every request with its bytes."""

import base64
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.servers.wandb.changes import Changes
from tests.servers.wandb.faults import Faults
from tests.servers.wandb.records import Records, hasher
from tests.servers.wandb.selection import RefusedError, answer, operation_name
from tests.servers.wandb.views import View, Views

KEY = "local0test0double0key0" + "0" * 18
"""Forty characters, as the client insists."""

_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")
_SLAB = 1 << 20


@dataclass(slots=True)
class Request:
    """One request that was answered.

    Attributes:
        kind: `graphql`, `file`, `manifest`, `upload`, `part`, `run`, `other`, or `held` for what stalls.
        name: Of the GraphQL operation, or of the object.
        status: 0 where the connection was closed without one.
        sent: Bytes of the body that went out.
        received: Bytes of the body that came in.
        range: As asked; "" for the whole.
    """

    kind: str
    name: str
    status: int
    sent: int = 0
    received: int = 0
    range: str = ""


class WandbServer:
    """A server on loopback and a free port.

    Args:
        folder: Where it keeps what it is told.
        port: 0 for a free one.

    Attributes:
        faults: What goes wrong.
        requests: What was asked so far, in order.
        url_seconds: How long a URL that is given out from now on is good.
        stall_seconds: How long a stalled answer stays silent.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.faults = Faults()
        self.requests: list[Request] = []
        self.url_seconds = 3600.0
        self.stall_seconds = 30.0
        self._folder = folder
        self._lock = threading.RLock()
        self._secret = b"0"
        self._start(port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def records(self) -> Records:
        return self._records

    def environment(self) -> dict[str, str]:
        """What a client needs to reach it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def expire_urls(self) -> None:
        """Refuse every URL that was given out so far."""
        self._secret += b"0"

    def restart(self) -> None:
        """Forget everything but what is on disk, and come back on the same port."""
        port = self._http.server_address[1]
        self.stop()
        self._start(port)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _start(self, port: int) -> None:
        self._records = Records(self._folder)
        self._views = Views(self._records, self.sign)
        self._changes = Changes(self._records, self._views)
        handler = type("Handler", (_Handler,), {"double": self})
        self._http = _Quiet(("127.0.0.1", port), handler)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def sign(self, kind: str, *names: str) -> str:
        path = "/".join(("", kind, *(quote(name, safe="") for name in names)))
        until = f"{time.time() + self.url_seconds:.3f}"
        return f"{self.url}{path}?expires={until}&signature={self._signature(path, until)}"

    def is_signed(self, path: str, query: str) -> bool:
        said = {name: values[0] for name, values in parse_qs(query).items()}
        until = said.get("expires", "0")
        return said.get("signature") == self._signature(path, until) and float(until) > time.time()

    def _signature(self, path: str, until: str) -> str:
        return hmac.new(self._secret, f"{path} {until}".encode(), hashlib.sha256).hexdigest()

    def answer(self, document: str, variables: dict[str, Any]) -> View:
        def roots(kind: str) -> View:
            return self._views.query() if kind == "query" else self._changes.mutation()

        with self._lock:
            try:
                return {"data": answer(document, variables, roots)}
            except Exception as error:  # the client would ask a broken connection again for minutes
                said = str(error) if isinstance(error, RefusedError) else repr(error)
                return {"data": None, "errors": [{"message": said, "path": []}]}
            finally:
                self._records.keep()

    def object(self, kind: str, names: list[str]) -> Path | None:
        """The file behind a URL; None where there is none."""
        with self._lock:
            if kind == "manifest":
                path = self._records.manifest_file(names[0])
            elif kind == "file":
                entries = self._records.entries(self._records.artifacts[names[0]])
                path = self._records.blob_of(entries[names[1]])
            else:
                return None
        return path if path.exists() else None

    def by_digest(self, digest: str) -> Path | None:
        """The file that the client asks for by its digest alone, with its key, where it has no URL."""
        found = [self._records.blob(algorithm, digest) for algorithm in ("md5", "xxh128")]
        return next((path for path in found if path.exists()), None)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the listening socket, and hang up: the client keeps its connections for the life of its process."""
        super().server_close()
        for request in tuple(self._open):
            with suppress(OSError):  # the client has hung up
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    double: WandbServer

    def log_message(self, *_: Any) -> None:
        """Nothing is printed: requests are recorded."""

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/graphql":
            streamed = {"exitcode": None, "limits": {}} if self.path.endswith("/file_stream") else {}
            self._say("other", self.path, 200 if streamed else 404, streamed, received=len(body))
            return
        asked = json.loads(body)
        name = operation_name(asked["query"])
        fault = self.double.faults.hit("graphql", name)
        if fault == "stall":
            self._note("held", name, 0)
            time.sleep(self.double.stall_seconds)
        if fault in ("drop", "stall"):
            self._hang_up("graphql", name)
        elif fault and fault.isdecimal():
            self._say("graphql", name, int(fault), {"errors": [{"message": "the test asked for this"}]})
        elif not self._has_key():
            self._say("graphql", name, 401, {"errors": [{"message": "invalid API key"}]})
        else:
            self._say("graphql", name, 200, self.double.answer(asked["query"], asked.get("variables") or {}))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        kind, *names = (unquote(part) for part in parts.path.split("/")[1:])
        if kind == "artifactsV2" or kind == "artifacts":
            found = (
                self.double.by_digest(names[-2] if kind == "artifactsV2" else names[-1]) if self._has_key() else None
            )
            kind, name = "file", names[-1]
        else:
            name = names[-1] if names else ""
            if self.double.faults.expire(kind, name):
                self.double.expire_urls()
            if not self.double.is_signed(parts.path, parts.query):
                self._say(kind, name, 403, b"Request has expired")
                return
            found = self.double.object(kind, names)
        fault = self.double.faults.hit(kind, name)
        if fault == "drop":
            self._hang_up(kind, name)
        elif fault and fault.isdecimal():
            self._say(kind, name, int(fault), b"the test asked for this")
        elif found is None:
            self._say(kind, name, 404, b"not found")
        else:
            self._send(kind, name, found, fault)

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        kind, name = (unquote(part) for part in parts.path.split("/")[1:3])
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        fault = self.double.faults.hit("upload" if kind == "part" else kind, name)
        if fault == "stall":
            self._note("held", name, 0, received=length)
            time.sleep(self.double.stall_seconds)
        if fault in ("drop", "stall"):
            self._hang_up(kind, name)
        elif fault:
            self._say(kind, name, int(fault), b"the test asked for this", received=length)
        elif not self.double.is_signed(parts.path, parts.query):
            self._say(kind, name, 403, b"Request has expired", received=length)
        else:
            self._keep(kind, name, body)

    def _keep(self, kind: str, name: str, body: bytes) -> None:
        records = self.double.records
        if kind == "upload":
            algorithm, _, digest = name.partition("-")
            seen = hasher(algorithm)
            seen.update(body)
            if seen.hexdigest() != digest:
                self._say(kind, name, 400, b"BadDigest", received=len(body))
                return
            path = records.blob(algorithm, digest)
        elif kind == "manifest":
            path = records.manifest_file(name)
        else:
            path = records.folder / ("parts" if kind == "part" else "runs") / name.replace("/", "_")
        part = path.with_name(f"{path.name}.{threading.get_ident()}.part")
        part.write_bytes(body)
        part.replace(path)
        mark = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._say(kind, name, 200, b"", received=len(body), ETag=f'"{mark}"')

    def _send(self, kind: str, name: str, path: Path, fault: str | None) -> None:
        size = path.stat().st_size
        asked = _RANGE.match(self.headers.get("Range", ""))
        start, end = (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
        if asked and start >= size:
            self._say(kind, name, 416, b"", Content_Range=f"bytes */{size}")
            return
        length = end - start + 1
        told = length // 2 if fault == "short" else length
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(told))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{start + told - 1}/{size}")
        self.end_headers()
        broken = fault in ("cut", "stall")
        count = length // 2 if broken else told
        # Noted before it goes: who has the last byte finds it noted.
        noted = self._note(kind, name, 206 if asked else 200, sent=count)
        with path.open("rb") as file:
            file.seek(start)
            try:
                if fault == "flip":
                    self.wfile.write(bytes(byte ^ 1 for byte in file.read(count)))
                elif count:
                    self.connection.sendfile(file, start, count)
            except OSError:
                noted.sent = file.tell() - start
                raise
        if broken:
            time.sleep(self.double.stall_seconds if fault == "stall" else 0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _say(self, kind: str, name: str, status: int, body: Any, *, received: int = 0, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._note(kind, name, status, sent=len(data), received=received)
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.send_header("Content-Type", "text/plain" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _hang_up(self, kind: str, name: str) -> None:
        self._note(kind, name, 0)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _note(self, kind: str, name: str, status: int, *, sent: int = 0, received: int = 0) -> Request:
        noted = Request(kind, name, status, sent, received, self.headers.get("Range", ""))
        self.double.requests.append(noted)
        return noted

    def _has_key(self) -> bool:
        scheme, _, said = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            said = base64.b64decode(said).decode().partition(":")[2]
        return said == KEY
