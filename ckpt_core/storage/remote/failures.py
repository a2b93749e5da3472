"""Failures of a server, in our words.

A client's own text may hold tokens, and is never repeated.

What happened is told by the code that a store gives its answer, then by the answer's status, then by what broke the
connection; `reasons` has the words.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, CkptError, NoAnswerError, UsageError
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.remote.options import given_options
from ckpt_core.storage.remote.reasons import (
    CODES,
    DENIED,
    KINDS,
    NO_ENDPOINT,
    NOT_KNOWN,
    OTHER_REGION,
    WRONG_USE,
    words_for,
)
from ckpt_core.storage.remote.retries import error_code, said, status_of

_REGION = re.compile(r"[a-z0-9-]{1,32}")


class NoBucketError(FileNotFoundError):
    """The bucket itself is not there, whatever was asked of it."""


class WrongServerError(Exception):
    """The server that answers is not of the asked kind."""


def as_ckpt_error(error: Exception, place: str) -> CkptError:
    """Return a filesystem's error in our words.

    Its own text may hold tokens and is not repeated.
    """
    if isinstance(error, CkptError):
        return error
    shown, scheme = redact(place), place.partition("://")[0].lower()
    if isinstance(error, NoBucketError) or error_code(error) == "NoSuchBucket":
        return CheckpointNotFoundError(
            f"{_bucket(shown)}: there is no such bucket; check its name, and which store is asked"
        )
    missing = isinstance(error, FileNotFoundError) or status_of(error) in (404, 410)
    if missing and not isinstance(error, WrongServerError):
        return CheckpointNotFoundError(f"{shown}: nothing there; check the name")
    if type(error).__name__ in WRONG_USE or _is_no_endpoint(error):
        return UsageError(f"{shown}: {WRONG_USE.get(type(error).__name__, NO_ENDPOINT)}")
    if isinstance(error, TypeError) and given_options():
        names = ", ".join(map(printable, given_options()))
        return UsageError(f"{shown}: its client does not take these storage options ({names}); check their names")
    return NoAnswerError(f"{shown}: {_reason(error, scheme)}")


def _reason(error: Exception, scheme: str) -> str:
    """Return what happened, and the next step."""
    code, status = error_code(error), status_of(error)
    if code in CODES:
        return words_for(CODES[code], scheme)
    if _region(error) is not None or status == 301 or code in OTHER_REGION:
        region = _region(error)
        named = f" ({region})" if region else ""
        return f"the bucket is in another region than was asked{named}; set AWS_DEFAULT_REGION to {region or 'its own'}"
    chain = list(_chain(error))
    for one in chain:
        for kind in type(one).__mro__:
            if kind.__name__ in KINDS:
                return words_for(KINDS[kind.__name__], scheme)
    if status == 401:
        return words_for(NOT_KNOWN, scheme)
    if isinstance(error, PermissionError) or status == 403 or _is_forbidden(error, scheme):
        return words_for(DENIED, scheme)
    return _of_the_connection([*chain, *_dialled(scheme, chain)]) or _otherwise(error, status)


def _of_the_connection(chain: list[BaseException]) -> str | None:
    """Return why a question or its answer did not arrive."""
    names = {type(one).__name__ for one in chain}
    if any(isinstance(one, socket.gaierror) for one in chain) or "ClientConnectorDNSError" in names:
        return "no machine is known by the name of its server; check the name of the host or endpoint, and the network"
    if (
        any(isinstance(one, ssl.SSLCertVerificationError) for one in chain)
        or "ClientConnectorCertificateError" in names
    ):
        return (
            "the server's certificate is not one that this machine trusts; name a file of your authority's in "
            "SSL_CERT_FILE (for S3: AWS_CA_BUNDLE)"
        )
    if any(isinstance(one, ConnectionRefusedError) for one in chain):
        return (
            "no server answers at that address; check the connection, the host or endpoint and its port, and try again"
        )
    if any(isinstance(one, TimeoutError) or type(one).__name__.endswith("TimeoutError") for one in chain):
        return f"no answer within {knobs.remote_timeout()} s; try again, or set CKPT_REMOTE_TIMEOUT"
    return None


def _dialled(scheme: str, chain: list[BaseException]) -> list[BaseException]:
    """Return why a connection to Google's server fails.

    gcsfs asks for longer than anybody waits, and says less.
    """
    if scheme not in ("gs", "gcs") or not any(isinstance(one, TimeoutError) for one in chain):
        return []
    named = os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"
    server = urlsplit(named if "://" in named else f"http://{named}")
    try:
        with socket.create_connection((server.hostname or "", server.port or 443), timeout=2):
            return []
    except (OSError, ValueError) as error:
        return [error]


def _otherwise(error: Exception, status: int | None) -> str:
    kind = type(error).__name__
    if status is not None and status >= 500:
        return f"its server failed or is overloaded (HTTP {status}); try again later"
    detail = f"{kind}, HTTP {status}" if status is not None and kind != "StatusError" else kind
    detail = f"HTTP {status}" if kind == "StatusError" else detail
    return f"did not answer as it should ({detail}); check the connection and try again"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors it was raised from.

    Clients keep that as a cause, or in an attribute, if they do.
    """
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(seen) < 20:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or one in seen:
            continue
        seen.append(one)
        yield one
        kept = getattr(one, "kwargs", None)
        waiting += [one.__cause__, one.__context__, getattr(one, "os_error", None), getattr(one, "reason", None)]
        waiting += [kept.get("error")] if isinstance(kept, dict) else []
        waiting += [part for part in one.args if isinstance(part, BaseException)]


def _region(error: Exception) -> str | None:
    """Return the region that a refusal says the bucket is in."""
    answer = said(error)
    if status_of(error) not in (301, 307, 400) and error_code(error) not in OTHER_REGION:
        return None
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    found = answer.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    return found if isinstance(found, str) and _REGION.fullmatch(found) else None


def _is_no_endpoint(error: Exception) -> bool:
    """Return the error for an endpoint that is no URL.

    botocore makes it a plain ValueError. Source: botocore, `endpoint.py`.
    """
    return type(error) is ValueError and str(error).startswith("Invalid endpoint")


def _is_forbidden(error: Exception, scheme: str) -> bool:
    """Return whether gcsfs was answered with 403.

    It makes that a plain OSError, which only its first word tells. Source: gcsfs, `retry.py`.
    """
    return scheme in ("gs", "gcs") and type(error) is OSError and str(error).startswith("Forbidden")


def _bucket(shown: str) -> str:
    parts = urlsplit(shown)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else shown
