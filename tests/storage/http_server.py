"""A web server on loopback that serves objects by name, with ranges, and misbehaves where it is told to.

    with serve({"model.safetensors": data}) as server:
        server.faults["model.safetensors"] = cut_short
        list_files(server.url("model.safetensors"))

A fault is a function of the handler, the whole object and the asked range; it answers in the server's place.
"""

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", bytes, int, int], None]


class Server(ThreadingHTTPServer):
    """`objects` and `faults` by name; `requests` counts what was asked for; `ranges` False sends whole objects only."""

    daemon_threads = True

    def __init__(self, objects):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects = dict(objects)
        self.faults: dict[str, Fault] = {}
        self.requests: list[str] = []
        self.ranges = True
        self.etags = True
        self.stopping = threading.Event()

    def url(self, name, *, userinfo="", query=""):
        return f"http://{userinfo}127.0.0.1:{self.server_address[1]}/{name}{query}"

    def handle_error(self, request, client_address):
        """A client that hangs up is none of the server's business."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        name = unquote(urlsplit(self.path).path[1:])
        self.server.requests.append(name)
        if name not in self.server.objects and name not in self.server.faults:
            self.send_error(404)
            return
        data = self.server.objects.get(name, b"")
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), min(int(asked[2]) + 1, len(data))) if asked else (0, len(data))
        fault = self.server.faults.get(name)
        if fault is not None:
            fault(self, data, start, end)
        elif not self.server.ranges or not asked:
            self.answer(200, data, data)
        elif start >= len(data):
            self.answer(416, data, b"", **{"Content-Range": f"bytes */{len(data)}"})
        else:
            self.part(data, start, end)

    def part(self, data, start, end, *, body=None, **headers):
        """The range, or with the head of that answer another `body`."""
        body = data[start:end] if body is None else body
        self.answer(206, data, body, **{"Content-Range": f"bytes {start}-{end - 1}/{len(data)}", **headers})

    def answer(self, status, whole, body, **headers):
        self.send_response(status)
        if self.server.etags:
            headers.setdefault("ETag", f'"{hashlib.md5(whole).hexdigest()}"')
        for key, value in {"Content-Type": "application/octet-stream", "Content-Length": len(body), **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


def status(code):
    """A fault: every request is answered with this status."""
    return lambda handler, data, start, end: handler.answer(code, data, b"sorry")


def cut_short(handler, data, start, end):
    """The head promises all bytes; the connection closes after half of them."""
    handler.part(data, start, end, body=data[start : (start + end) // 2], **{"Content-Length": end - start})
    handler.close_connection = True


def short_length(handler, data, start, end):
    """The range is claimed to be the one asked; Content-Length and body hold half of it."""
    handler.part(data, start, end, body=data[start : (start + end) // 2])


def reset(handler, data, start, end):
    """The connection is reset before any answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.rfile.close()  # it holds the socket open
    handler.connection.close()


def stall(handler, data, start, end):
    """The head comes, the body never does."""
    handler.part(data, start, end, body=b"", **{"Content-Length": end - start})
    handler.wfile.flush()
    handler.server.stopping.wait(30)


def drip(handler, data, start, end):
    """One byte every tenth of a second: no single wait is long."""
    handler.part(data, start, end, body=b"", **{"Content-Length": end - start})
    for byte in data[start:end]:
        if handler.server.stopping.is_set():
            return
        handler.wfile.write(bytes([byte]))
        time.sleep(0.1)


def html_page(handler, data, start, end):
    """An error page with status 200, exactly as long as what was asked."""
    page = b"<html>Please log in</html>".ljust(end - start)[: end - start]
    handler.answer(200, page, page, **{"Content-Type": "text/html"})


def other_range(handler, data, start, end):
    """A cache that answers with a range it happened to have."""
    handler.part(data, 0, end - start)


@contextmanager
def serve(objects) -> Iterator[Server]:
    """A running server; it ends with the block."""
    server = Server(objects)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
