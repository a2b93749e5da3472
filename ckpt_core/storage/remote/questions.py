"""One ranged GET.

The right address, redirects, a connection that may have gone stale, and a head that is compared.

Redirects are followed as far as they are safe: what an address carries is never sent to another origin, and https never
becomes http. Where they led is remembered for the next range, since signed URLs of a hub's storage are good for many.
"""

import re
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from ckpt_core.errors import NoAnswerError, UsageError
from ckpt_core.storage.remote.addresses import Address, ListedObject
from ckpt_core.storage.remote.answers import check_answer
from ckpt_core.storage.remote.connections import Connection, basic_authentication, idle, origin_of
from ckpt_core.storage.remote.retries import Clock

_REDIRECTS = 10
_MOVED = frozenset({301, 302, 303, 307, 308})
_REFUSED = frozenset({400, 401, 403})
"""How stores and hubs answer where a signature or a token has expired. Source: Amazon S3, "Error responses"."""

_SAFE = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is in a URL: what may stand there, and the percent signs of what is encoded already."""

_ERROR_BYTES = 64 << 10
"""Of the body of an answer that is an error: enough for what a store says, and little to keep a connection for."""


_TOLD = re.compile(rb"<(Code|Region)>([A-Za-z0-9-]{1,64})</")
"""What a store says in an answer that is an error, and what it says it of."""


class StatusError(Exception):
    """An answer that is an error.

    It has what its store says of it. Its text is empty.

    Attributes:
        status: Of the answer.
        headers: Of the answer.
        response: The same as a tree, as botocore has it: a code, and where it is told the region of a bucket.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__()
        self.status, self.headers = status, headers
        told = {name.decode(): text.decode() for name, text in _TOLD.findall(body)}
        self.response = {
            "Error": told,
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "HTTPHeaders": {name.lower(): value for name, value in headers.items()},
            },
        }


class Answer:
    """An answer with its head compared, and its body unread.

    `left` counts the bytes of the body.
    """

    def __init__(self, connection: Connection, response: HTTPResponse, length: int) -> None:
        self._connection, self._response, self.left = connection, response, length

    def readinto(self, out: memoryview, clock: Clock) -> int:
        """Fill `out`, or what is left of it at the body's end.

        IncompleteRead where the body ends early.
        """
        self._connection.clock = clock
        count = self._response.readinto(out[: self.left])
        if not count:
            raise IncompleteRead(b"", self.left)
        self.left -= count
        if not self.left:
            _done(self._connection, self._response)
        return count

    def close(self) -> None:
        if self.left:
            self._connection.close()
            self._response.close()
            self.left = 0


class Questions:
    """The questions about one object.

    Args:
        wanted: The object, as it was listed.
    """

    def __init__(self, wanted: ListedObject) -> None:
        self.wanted = wanted
        self._led: tuple[Address, str] | None = None

    def open(self, start: int, end: int, clock: Clock) -> Answer:
        """Ask for bytes `start` to `end`.

        The answer's head was compared with the question.

        Raises:
            FileNotFoundError: There is no such object any more.
            StatusError: The server says that it cannot, or may not.
            ReplacedError, NoAnswerError: As `check_answer`.
        """
        connection, response = self._ask(start, end, clock)
        try:
            check_answer(response, self.wanted, start, end)
        except BaseException:
            _drop(connection, response)
            raise
        return Answer(connection, response, end - start)

    def head(self, clock: Clock) -> HTTPResponse:
        """Return the head of an answer for the first byte.

        Any server can give that.
        """
        connection, response = self._ask(0, 1, clock)
        _drain(connection, response)
        return response

    def _ask(self, start: int, end: int, clock: Clock) -> tuple[Connection, HTTPResponse]:
        """Ask, and hand the answer on as it is.

        One that is an error is raised, but for 416.
        """
        address = self.wanted.address(False)
        try:
            return self._followed(address, start, end, clock)
        except StatusError as error:
            if error.status not in _REFUSED:
                raise
            fresh = self.wanted.address(True)
            if fresh == address:
                raise
            return self._followed(fresh, start, end, clock)

    def _followed(self, address: Address, start: int, end: int, clock: Clock) -> tuple[Connection, HTTPResponse]:
        if self._led is not None and self._led[0] is address:
            try:
                return self._once(self._led[1], {}, address, start, end, clock)[:2]
            except (StatusError, FileNotFoundError):
                self._led = None  # what it was led to has expired
        parts = urlsplit(address.url)
        known = basic_authentication(parts)
        carried = {**address.headers, **({"Authorization": known} if known else {})}
        url = _bare(parts)
        for _ in range(_REDIRECTS):
            connection, response, led = self._once(url, carried, address, start, end, clock)
            if led is None:
                if url != _bare(parts) and not carried:
                    self._led = address, url
                return connection, response
            carried = carried if _site(url) == _site(led) else {}
            url = led
        raise NoAnswerError(f"{self.wanted.place}: redirected more than {_REDIRECTS} times; check the URL")

    def _once(
        self, url: str, carried: Mapping[str, str], address: Address, start: int, end: int, clock: Clock
    ) -> tuple[Connection, HTTPResponse, str | None]:
        """One question to one place, and where it is redirected to."""
        headers = {**carried, "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        connection, response = _get(urlsplit(url), headers, address.certificates, clock)
        if response.status in _MOVED and response.headers.get("Location"):
            _drain(connection, response)
            return connection, response, self._target(url, response.headers["Location"])
        if response.status >= 400 and response.status != 416:
            body = _drain(connection, response)
            if response.status in (404, 410):
                raise FileNotFoundError from StatusError(response.status, dict(response.headers), body)
            raise StatusError(response.status, dict(response.headers), body)
        return connection, response, None

    def _target(self, url: str, location: str) -> str:
        try:
            parts = urlsplit(urljoin(url, location))
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise NoAnswerError(f"{self.wanted.place}: redirected to what is no web address; check the URL")
        if (urlsplit(url).scheme, parts.scheme) == ("https", "http"):
            raise NoAnswerError(
                f"{self.wanted.place}: redirected from https to http, where anybody on the way could change it; "
                "ask its owner for an https URL"
            )
        return _bare(parts)


def _get(
    url: SplitResult, headers: Mapping[str, str], certificates: str | None, clock: Clock
) -> tuple[Connection, HTTPResponse]:
    """Ask on a kept connection.

    A new connection is taken where that one was closed meanwhile.
    """
    origin, target = origin_of(url, certificates), _target_of(url)
    connection = idle.take(origin)
    while True:
        connection = connection or Connection(origin, clock)
        connection.clock = clock
        try:
            return connection, connection.get(target, headers)
        except BaseException as error:
            connection.close()
            if not connection.used or not isinstance(error, ConnectionError | RemoteDisconnected):
                raise
            connection = None


def _target_of(url: SplitResult) -> str:
    target = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
    return quote(target, safe=_SAFE)


def _bare(url: SplitResult) -> str:
    """The URL without user, password and fragment."""
    return url._replace(netloc=url.netloc.rpartition("@")[2], fragment="").geturl()


def _site(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _drain(connection: Connection, response: HTTPResponse) -> bytes:
    """Return the start of a body that nobody needs.

    The connection is kept where that was all of it.
    """
    try:
        body = response.read(_ERROR_BYTES)
    except (OSError, HTTPException):
        body = b""
    if response.isclosed() or response.length == 0:
        _done(connection, response)
    else:
        _drop(connection, response)
    return body


def _done(connection: Connection, response: HTTPResponse) -> None:
    """Keep a connection whose answer has come whole, where its server does."""
    if response.will_close or not (response.isclosed() or response.length == 0):
        _drop(connection, response)
    else:
        response.close()
        idle.give(connection)


def _drop(connection: Connection, response: HTTPResponse) -> None:
    connection.close()
    response.close()


def checked_url(url: str, place: str) -> str:
    """The URL of a web page; UsageError where it is none."""
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return url
    except ValueError:
        pass  # said below, without the words of urllib, which repeat the URL
    raise UsageError(f"{place}: not a valid URL; check its host and port")
