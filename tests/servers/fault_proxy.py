"""A proxy on loopback that stands in front of a server, notes every request, and misbehaves where it is told to.

    with fault_proxy("http://127.0.0.1:8333") as proxy:
        proxy.rule(lost_answer, method="PUT", path=r"model\\.safetensors", first=2)
        …                                       # clients speak to proxy.url
        proxy.log[-1].method, proxy.received()

A fault (of `faults`) is a function of an `Exchange`; it does what the proxy would have done otherwise: ask the server
and give its answer. What no rule is for is passed on as it came. The Host header is the client's, which signs it.
"""

import http.client
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_SLAB = 1 << 18
_OF_A_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", "expect"}
"""Headers of one connection, not of the message. Source: RFC 9110, section 7.6.1."""

Change = Callable[[int, bytes], bytes]
"""What bytes that lie so far in a body are to be replaced by."""


@dataclass(slots=True)
class Asked:
    """A request as the log tells it.

    Attributes:
        method: As in GET.
        path: With its query, decoded.
        headers: Of the request, in lower case.
        sent: Bytes of its body that came.
        status: Of the answer that the client got; 0 for none.
        received: Bytes of that answer's body.
        fault: Name of the fault that answered; empty for none.
    """

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0
    status: int = 0
    received: int = 0
    fault: str = ""


@dataclass(slots=True)
class Rule:
    """A fault, and of which requests. `seen` counts those that match, `first` to `last` of them are for the fault."""

    fault: Callable[["Exchange"], None]
    method: str
    path: str
    first: int
    last: int | None
    seen: int = 0

    def takes(self, asked: Asked) -> bool:
        if not re.fullmatch(self.method, asked.method) or not re.search(self.path, asked.path):
            return False
        self.seen += 1
        return self.first <= self.seen and (self.last is None or self.seen <= self.last)


class FaultProxy(ThreadingHTTPServer):
    """A running proxy. `log` has every request in the order they came, also those under way."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.upstream = urlsplit(server).netloc
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.address}"
        self.log: list[Asked] = []
        self.stopping = threading.Event()
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def rule(
        self,
        fault: Callable[["Exchange"], None],
        *,
        method: str = ".*",
        path: str = "",
        first: int = 1,
        last: int | None = -1,
    ) -> Rule:
        """Add a rule; of several that match a request the one that was added first has it.

        Args:
            fault: What to do.
            method: A regular expression of the whole method.
            path: One found in the path with its query.
            first: Which of the requests that match is the first, from 1.
            last: Which is the last: that one alone where it is not given, None for all that come.
        """
        made = Rule(fault, method, path, first, first if last == -1 else last)
        with self._lock:
            self._rules.append(made)
        return made

    def clear(self) -> None:
        """Forget the rules and the log."""
        with self._lock:
            self._rules.clear()
            self.log.clear()

    def asked(self, method: str = ".*", path: str = "") -> list[Asked]:
        """The requests of the log whose method and path are like that."""
        return [one for one in list(self.log) if re.fullmatch(method, one.method) and re.search(path, one.path)]

    def received(self, method: str = ".*", path: str = "") -> int:
        """Bytes of bodies that such requests were answered with."""
        return sum(one.received for one in self.asked(method, path))

    def sent(self, method: str = ".*", path: str = "") -> int:
        """Bytes of bodies that came with such requests."""
        return sum(one.sent for one in self.asked(method, path))

    def note(self, asked: Asked) -> Callable[["Exchange"], None] | None:
        """Log a request; the fault that is to have it. Every rule counts it."""
        with self._lock:
            self.log.append(asked)
            taken = [rule for rule in self._rules if rule.takes(asked)]
            return taken[0].fault if taken else None

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is none of the proxy's business."""


@dataclass(slots=True)
class Answer:
    """What the server said: its body is still to be read."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: http.client.HTTPResponse = field(repr=False)

    @property
    def length(self) -> int | None:
        return next((int(value) for name, value in self.headers if name.lower() == "content-length"), None)


class Exchange(BaseHTTPRequestHandler):
    """A request and the means to answer it."""

    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def pass_on(self) -> None:
        """Ask the server and give the client its answer."""
        self.give(self.ask())

    def ask(self, *, change: Change | None = None, cut: int | None = None) -> Answer | None:
        """Send the request to the server.

        Args:
            change: What its body is to be changed by.
            cut: Bytes of the body after which the connection to the server is broken.

        Returns:
            The head of the answer; None where the connection was broken.
        """
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        self._connections.append(connection)
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        connection.putrequest(self.command, self._target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_A_HOP:
                connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        for data in self._body(change):
            if cut is not None and self.asked.sent >= cut:
                connection.sock.send(data[: len(data) - (self.asked.sent - cut)])
                break_off(connection.sock)
                return None
            connection.send(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
        if chunked:
            connection.send(b"0\r\n\r\n")
        answer = connection.getresponse()
        return Answer(answer.status, answer.reason, list(answer.headers.items()), answer)

    def give(
        self, answer: Answer | None, *, change: Change | None = None, cut: int | None = None, longer: int = 0
    ) -> None:
        """Give the client an answer.

        Args:
            answer: The server's; None hangs up.
            change: What its body is to be changed by.
            cut: Bytes of the body after which no more is sent; the connection stays as it is.
            longer: What is added to the length that the head tells; may be negative.
        """
        if answer is None:
            self.reset()
            return
        whole = self.command != "HEAD" and answer.status not in (204, 304)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers:
            if name.lower() == "content-length" and whole:
                self.send_header(name, str(int(value) + longer))
            elif name.lower() == "location":  # of a resumable upload: the next request is to come here as well
                self.send_header(name, value.replace(self.server.upstream, self.server.address))
            elif name.lower() not in _OF_A_HOP:
                self.send_header(name, value)
        if whole and answer.length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.asked.status = answer.status
        self._send_body(answer, change, cut)

    def _send_body(self, answer: Answer, change: Change | None, cut: int | None) -> None:
        while data := answer.body.read(_SLAB):
            data = data if change is None else change(self.asked.received, data)
            if cut is not None:
                data = data[: cut - self.asked.received]
            self.asked.received += len(data)  # first, else a client could look before it is told
            self.wfile.write(data)
            if cut is not None and self.asked.received >= cut:
                break
        self.wfile.flush()

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer without the server, whose answer is thrown away where it was asked."""
        for _ in self._body(None):
            pass
        self.asked.status = status
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.asked.received = len(body)
            self.wfile.write(body)

    def reset(self) -> None:
        """Break the client's connection, so that it learns of it at once."""
        self.close_connection = True
        self.rfile.close()  # it holds the socket open
        break_off(self.connection)

    def wait(self) -> None:
        """Say no more until the client hangs up, or the proxy ends."""
        self.close_connection = True
        arriving = select.poll()  # select takes no descriptor above 1023
        arriving.register(self.connection, select.POLLIN)
        while not self.server.stopping.is_set():
            if arriving.poll(50):
                try:
                    if not self.connection.recv(_SLAB):
                        return
                except OSError:
                    return

    def _body(self, change: Change | None) -> Iterator[bytes]:
        """What is left of the request's body. `asked.sent` counts it, and is told before the bytes are given."""
        for data in self._sent():
            start = self.asked.sent
            self.asked.sent += len(data)
            yield data if change is None else change(start, data)

    def _sent(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := self._chunk_size():
                yield self.rfile.read(size)
                self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0)) - self.asked.sent
            while left > 0 and (data := self.rfile.read(min(left, _SLAB))):
                left -= len(data)
                yield data

    def _chunk_size(self) -> int:
        """The size of the next chunk; 0 at the end, trailers read. Once read, the end is there for good."""
        if self._all_read:
            return 0
        size = int(self.rfile.readline().partition(b";")[0], 16)
        if not size:
            self._all_read = True
            while self.rfile.readline().strip():
                pass
        return size

    def _serve(self) -> None:
        self._target = self.requestline.split(" ")[1]
        self._connections: list[http.client.HTTPConnection] = []
        self._all_read = False
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Asked(self.command, unquote(self._target), headers)
        fault = self.server.note(self.asked)
        try:
            if fault is None:
                self.pass_on()
            else:
                self.asked.fault = getattr(fault, "__name__", type(fault).__name__)
                fault(self)
        finally:
            for connection in self._connections:
                connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _serve  # noqa: N815

    def log_message(self, format, *args) -> None:
        pass


def break_off(connection: socket.socket) -> None:
    """Close a connection by a reset, which throws away what was sent and not yet read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def fault_proxy(server: str) -> Iterator[FaultProxy]:
    """A running proxy in front of the server of a URL; it ends with the block."""
    proxy = FaultProxy(server)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stopping.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()
