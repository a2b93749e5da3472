"""Connections to web servers.

Kept for the next question, each wait of theirs within a deadline.

Proxies are those of the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`); certificates are checked
against the machine's authorities, or those of `SSL_CERT_FILE`, `SSL_CERT_DIR` or `REQUESTS_CA_BUNDLE`.
"""

import atexit
import math
import os
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from http.client import HTTPConnection, HTTPSConnection
from io import BufferedReader, RawIOBase
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ckpt_core.errors import UsageError
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.remote.retries import Clock
from ckpt_core.storage.workers import check_stop, got_on

_KEPT = 16
"""Idle connections that are kept; more are closed when their answer has come."""

_KEPT_SECONDS = 20.0
"""Servers close idle connections after 20 seconds (Amazon S3) or more."""

_SENT_AT_ONCE = 1 << 20

_LOOK = 0.5
"""Seconds of silence between two looks at whether anybody still waits."""

_NO_CLOCK = Clock(0.0)


class Origin(NamedTuple):
    """Whom a connection speaks to, and by which way."""

    scheme: str
    host: str
    port: int
    proxy: str | None = None
    certificates: str | None = None


def origin_of(url: SplitResult, certificates: str | None = None) -> Origin:
    """Return the origin of a URL.

    The proxy that the environment names for it is part of it.
    """
    assert url.hostname is not None
    port = url.port or (443 if url.scheme == "https" else 80)
    return Origin(url.scheme, url.hostname, port, proxy_for(url), certificates)


def proxy_for(url: SplitResult) -> str | None:
    """Return the proxy that the environment names for a URL.

    None where it is asked directly.
    """
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or url.hostname is None or proxy_bypass(f"{url.hostname}:{url.port}" if url.port else url.hostname):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def basic_authentication(url: SplitResult) -> str | None:
    """Return the header's value for a URL's user and password.

    None where it has none.
    """
    if url.username is None:
        return None
    words = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return f"Basic {b64encode(words.encode()).decode()}"


class Connection:
    """One connection: a question at a time, every wait measured by `clock`."""

    def __init__(self, origin: Origin, clock: Clock) -> None:
        self.origin, self.used, self.since = origin, False, time.monotonic()
        self._inner = _connection(origin, clock)

    @property
    def clock(self) -> Clock:
        return self._inner.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._inner.clock = clock

    def get(self, target: str, headers: Mapping[str, str]) -> Any:
        """Ask for a target, a path with its query.

        The answer's head has come, its body has not.
        """
        return self.ask("GET", target, headers)

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: memoryview | None = None) -> Any:
        """Ask by any method, as `get` does.

        A body is sent as it lies in memory.

        A server that refuses what is sent may say so before it has read it: its answer counts, not the broken pipe.
        """
        if self.origin.proxy is not None and self.origin.scheme == "http":
            host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
            target = f"http://{host}:{self.origin.port}{target}"
            headers = {**headers, **_proxy_headers(urlsplit(self.origin.proxy))}
        self._inner.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            self._inner.putheader(name, value)
        try:
            self._inner.endheaders(body)
        except ConnectionError:
            if body is None or self._inner.sock is None:
                raise
        return self._inner.getresponse()

    def close(self) -> None:
        self._inner.close()


class _Raw(RawIOBase):
    """The bytes of a socket.

    Each wait for them is within the clock of its connection.
    """

    def __init__(self, timed: "_TimedSocket") -> None:
        self._timed, self._raw = timed, timed.inner.makefile("rb", buffering=0)  # which keeps the socket open

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        return self._timed.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()


class _TimedSocket:
    """The part of a socket that http.client uses."""

    def __init__(self, inner: socket.socket, connection: "_Timed") -> None:
        self.inner, self._connection = inner, connection
        self._wait: float | None = None

    def set_wait(self, most: float = math.inf) -> None:
        wait = min(self._connection.clock.wait(), most)
        if wait != self._wait:
            self.inner.settimeout(wait)
            self._wait = wait

    def receive_into(self, buffer: Any) -> int:
        """Fill a buffer with what comes.

        A worker that nobody waits for any more ends soon, whatever the server does: an interrupt is heard.
        """
        end = time.monotonic() + self._connection.clock.wait()
        while True:
            check_stop()
            self.set_wait(_LOOK)
            try:
                count = self.inner.recv_into(buffer)
                got_on()
                return count
            except TimeoutError:
                if time.monotonic() >= end:
                    raise

    def makefile(self, mode: str) -> BufferedReader:
        return BufferedReader(_Raw(self))

    def sendall(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for at in range(0, len(view), _SENT_AT_ONCE):  # a slow line is waited for, as long as bytes go
            self.set_wait()
            self.inner.sendall(view[at : at + _SENT_AT_ONCE])
            got_on()

    def close(self) -> None:
        self.inner.close()


class _Timed(HTTPConnection):
    clock: Clock = _NO_CLOCK

    def connect(self) -> None:
        self.timeout = self.clock.wait()
        super().connect()
        self.sock = _TimedSocket(self.sock, self)


class _TimedSecure(_Timed, HTTPSConnection):
    pass


def _connection(origin: Origin, clock: Clock) -> _Timed:
    proxy = urlsplit(origin.proxy) if origin.proxy is not None else None
    if proxy is not None and (proxy.scheme != "http" or not proxy.hostname):
        raise UsageError(f"{redact(origin.proxy or '')}: not a proxy that is spoken to here; give http://HOST:PORT")
    host, port = (proxy.hostname or "", proxy.port or 80) if proxy is not None else (origin.host, origin.port)
    made = _Timed(host, port)
    if origin.scheme == "https":
        made = _TimedSecure(host, port, context=_context(_certificates(origin.certificates)))
        if proxy is not None:
            made.set_tunnel(origin.host, origin.port, headers=_proxy_headers(proxy))
    made.clock = clock
    return made


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    known = basic_authentication(proxy)
    return {"Proxy-Authorization": known} if known else {}


def _certificates(named: str | None) -> str | None:
    """Return a file or folder of authorities that somebody has named.

    OpenSSL looks into `SSL_CERT_FILE` by itself.
    """
    if named or os.environ.get("SSL_CERT_FILE"):
        return named or os.environ["SSL_CERT_FILE"]
    return os.environ.get("REQUESTS_CA_BUNDLE") or None


@lru_cache(4)
def _context(certificates: str | None) -> ssl.SSLContext:
    try:
        folder = certificates is not None and os.path.isdir(certificates)
        return ssl.create_default_context(
            cafile=None if folder else certificates, capath=certificates if folder else None
        )
    except (OSError, ssl.SSLError):
        raise UsageError(
            f"{printable(certificates or '')}: holds no certificates that can be read; "
            "check SSL_CERT_FILE, REQUESTS_CA_BUNDLE and AWS_CA_BUNDLE"
        ) from None


class _Idle:
    """Connections whose last answer was read to its end."""

    def __init__(self) -> None:
        self._lock, self._process = Lock(), os.getpid()
        self._kept: list[Connection] = []

    def take(self, origin: Origin) -> Connection | None:
        with self._lock:
            self._drop(lambda one: time.monotonic() - one.since > _KEPT_SECONDS)
            found = next((one for one in reversed(self._kept) if one.origin == origin), None)
            if found is not None:
                self._kept.remove(found)
            return found

    def give(self, connection: Connection) -> None:
        connection.used, connection.since, connection.clock = True, time.monotonic(), _NO_CLOCK
        with self._lock:
            self._kept.append(connection)
            while len(self._kept) > _KEPT:
                self._kept.pop(0).close()

    def _drop(self, over: Any) -> None:
        for one in [one for one in self._kept if over(one)]:
            self._kept.remove(one)
            one.close()

    def close(self) -> None:
        """Close all connections.

        A forked process, which shares them with its parent, closes them as well.
        """
        with self._lock:
            self._drop(lambda one: True)


idle = _Idle()
"""Of this process."""

atexit.register(idle.close)


def _after_fork() -> None:
    idle._lock = Lock()  # some thread of the parent may have held it
    idle.close()


os.register_at_fork(after_in_child=_after_fork)
