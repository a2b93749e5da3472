"""Questions asked again where the answer may be another.

The first one failed, broke off, or was silent.

A pause doubles from try to try and is drawn at random around that, so that many that failed together do not come back
together. What a server says of when to come back (`Retry-After`) is kept to. All tries share one deadline, which bytes
that came prolong: a slow answer is waited for, one that trickles is not.
"""

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ckpt_core import knobs
from ckpt_core.log import Logger

T = TypeVar("T")

_log = Logger(__name__)

_TRIES = 5
_FIRST_PAUSE = 0.1
"""Seconds; with the doubling, five tries of a server that fails at once take two or three."""

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be another the next time. Source: RFC 9110, sections 15.5 and 15.6; RFC 6585; RFC 8470."""

_BROKEN = frozenset(
    {
        *("ConnectionError", "ClientConnectionError", "ClientPayloadError", "IncompleteReadError", "TimeoutError"),
        *("ConnectionClosedError", "EndpointConnectionError", "HTTPClientError", "ResponseStreamingError"),
        *("IncompleteRead", "ProtocolError", "RemoteProtocolError", "NetworkError", "TransportError", "SSLError"),
        *("HttpProcessingError", "ServerDisconnectedError", "ReadTimeoutError", "ConnectTimeoutError"),
    }
)
"""Classes, or bases, of what clients raise for a connection that broke, was refused or went silent: Python's own,
aiohttp, botocore, urllib3, http.client, httpx and requests. By name: most of these packages are not there."""

_CODES = frozenset(
    {
        *("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "ThrottlingException"),
        *("ConditionalRequestConflict", "OperationAborted"),  # of two writers at once, told by 409
        *("BadDigest", "IncompleteBody"),  # what arrived is not what was sent
    }
)
"""What an object store calls such failures in its answer. Source: Amazon S3, "Error responses"."""


SLOWEST = 256 << 10
"""Bytes a second below which a connection to an object store counts as stuck, once the deadline has passed."""


class Clock:
    """The deadline of one question with all of its tries.

    Args:
        seconds: For all tries together; None for `knobs.remote_timeout()`.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = knobs.remote_timeout() if seconds is None else seconds
        self.received = 0
        self._start = time.monotonic()

    def came(self, nbytes: int) -> None:
        """Note that so many bytes of what was asked have arrived."""
        self.received += nbytes

    def left(self) -> float:
        """Seconds until the deadline; negative behind it."""
        return self._start + self.seconds + self.received / SLOWEST - time.monotonic()

    def wait(self) -> float:
        """Return the seconds that one wait for bytes may take.

        A third, so that there is time to ask again.

        Raises:
            TimeoutError: The deadline has passed.
        """
        left = self.left()
        if left <= 0:
            raise TimeoutError
        return min(left, self.seconds / 3)


def ask_again(ask: Callable[[float], T], *, seconds: float | None = None, clock: Clock | None = None) -> T:
    """Return the answer, asked for as often as may help.

    A try that brought bytes is the first again.

    Args:
        ask: Asks once; is told how many seconds are left.
        seconds: For all tries together, where there is no `clock` of them; None for `knobs.remote_timeout()`.
        clock: Of all tries together.

    Raises:
        Exception: What the last try raised.
    """
    clock = clock or Clock(seconds)
    number, before = 1, clock.received
    while True:
        try:
            return ask(max(clock.left(), 0.001))
        except Exception as error:
            number = 1 if clock.received > before else number
            pause = _pause(error, number)
            if number == _TRIES or not may_pass(error) or pause >= clock.left():
                raise
            _log.info("%s, asked again in %.1f s", type(error).__name__, pause)
        number, before = number + 1, clock.received
        time.sleep(pause)


def may_pass(error: BaseException) -> bool:
    """Return whether asking again may help a moment later."""
    if isinstance(error, FileNotFoundError | PermissionError) or type(error).__name__ == "SSLCertVerificationError":
        return False
    if error_code(error) in _CODES:
        return True
    status = status_of(error)
    if status is not None:
        return status in _AGAIN
    return bool(_BROKEN & {kind.__name__ for kind in type(error).__mro__})


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status in a client's error.

    None where there was no answer.
    """
    found = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    found = found or said(error).get("ResponseMetadata", {}).get("HTTPStatusCode") or getattr(error, "code", None)
    return found if isinstance(found, int) and 100 <= found < 600 else None


def error_code(error: BaseException) -> str | None:
    """Return a failure's name in an object store's answer.

    None where it does not say.
    """
    found = said(error).get("Error", {}).get("Code")
    return found if isinstance(found, str) else None


def said(error: BaseException) -> dict[str, Any]:
    """Return the answer of a store, as botocore's tree.

    s3fs keeps that as the cause of an OSError.
    """
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return response
    return {}


def _pause(error: BaseException, number: int) -> float:
    asked = _retry_after(error)
    drawn = _FIRST_PAUSE * float(1 << (number - 1)) * (0.5 + random.random())
    return drawn if asked is None else max(asked, drawn)


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asks to be left alone.

    None where it says no number of them.
    """
    headers = getattr(error, "headers", None) or getattr(getattr(error, "response", None), "headers", None)
    text = headers.get("Retry-After", "") if headers is not None else ""
    return float(text) if str(text).strip().isdecimal() else None
