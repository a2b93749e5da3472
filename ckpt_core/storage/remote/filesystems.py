"""The filesystem of fsspec that serves a URL.

Here is how it is asked, too.

A question has one deadline for all of its tries, which bytes to come prolong: a server that fails, breaks off or is
silent is asked again, with pauses.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ckpt_core import knobs
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.text import redact
from ckpt_core.storage.remote.clients import prepare, quiet
from ckpt_core.storage.remote.failures import as_ckpt_error
from ckpt_core.storage.remote.options import options_of
from ckpt_core.storage.remote.retries import SLOWEST, Clock, ask_again, status_of
from ckpt_core.storage.urls import scheme_of

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
"""What reads each scheme for fsspec; all of them can be installed by these names."""


_served: dict[str, Any] = {}


@contextmanager
def served(scheme: str, filesystem: Any) -> Iterator[None]:
    """Let a filesystem serve the URLs of a scheme for a block.

    A filesystem that no scheme names yet can be tried so.
    """
    _served[scheme] = filesystem
    try:
        yield
    finally:
        del _served[scheme]


def open_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and what it calls it.

    Raises:
        UnsupportedFormatError: Its scheme needs a package that is not installed.
        UsageError: It is no valid URL.
    """
    scheme = scheme_of(url)
    assert scheme is not None
    if scheme in _served:
        return _served[scheme], url.partition("://")[2]
    url = scheme + url[len(scheme) :]
    if scheme in ("http", "https"):
        from ckpt_core.storage.remote.http import WebFilesystem
        from ckpt_core.storage.remote.questions import checked_url

        return WebFilesystem(), checked_url(url, redact(url))
    prepare(scheme)
    try:
        from fsspec.core import get_filesystem_class, url_to_fs

        get_filesystem_class(scheme)
    except (ImportError, ValueError):
        raise missing_package(scheme, url) from None
    try:
        with quiet():
            filesystem, name = url_to_fs(url, **options_of(scheme))
    except Exception as error:
        raise as_ckpt_error(error, url) from None
    if scheme == "s3":
        filesystem.retries = 1  # as botocore's, see `options`
    return filesystem, name


def missing_package(scheme: str, url: str) -> UnsupportedFormatError:
    package = PACKAGES.get(scheme)
    step = f"run pip install {package}" if package else "download it first, and give its path"
    return UnsupportedFormatError(f"{redact(url)}: reading {scheme}:// needs a package that is not installed; {step}")


def ask(filesystem: Any, function: Callable[..., Any], /, *arguments: Any, nbytes: int = 0, **named: Any) -> Any:
    """Call a filesystem, again where that may help.

    It is given up at the deadline, which `nbytes` to come prolong.
    """
    seconds = knobs.remote_timeout() + nbytes / SLOWEST

    def once(left: float) -> Any:
        if getattr(filesystem, "async_impl", False):  # it works in a loop of its own, which can be left
            # A third, so that a server that is silent is asked again.
            return function(*arguments, **named, timeout=min(left, seconds / 3))
        return function(*arguments, **named)

    try:
        with quiet():
            return ask_again(once, clock=Clock(seconds))
    except Exception as error:
        if status_of(error) == 401 and _is_nobody(filesystem):
            raise NoCredentialsError from error
        raise


class NoCredentialsError(Exception):
    """The server wants to know who asks.

    Nothing on this machine says so.
    """


def _is_nobody(filesystem: Any) -> bool:
    """Return whether gcsfs found no credentials, and asks without.

    It is told by its `credentials`, whose own are None then.
    """
    held = getattr(filesystem, "credentials", None)
    return type(filesystem).__module__.startswith("gcsfs") and getattr(held, "credentials", held) is None
