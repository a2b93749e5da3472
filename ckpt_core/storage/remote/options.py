"""Options of the clients of stores.

A verb was given them, for all that it reads and writes while it runs.

They are passed on to the client as they are, under its own names (`endpoint_url`, `anon`, `client_kwargs`). Values may
be secrets, and are in no message.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.request import getproxies

_given: ContextVar[Mapping[str, Any]] = ContextVar("storage_options", default={})  # noqa: B039


_OF_S3 = {"signature_version": "s3v4", "retries": {"mode": "standard", "total_max_attempts": 1}}
"""Of a store's signatures for URLs only this one is good for objects with a key of their own. Who asks again is us:
the client's own tries would each come on top."""


@contextmanager
def storage_options(options: Mapping[str, Any] | None) -> Iterator[None]:
    """Give options to every client that the block asks for.

    None leaves those that were given before.
    """
    token = _given.set(_given.get() if options is None else dict(options))
    try:
        yield
    finally:
        _given.reset(token)


def given_options() -> Mapping[str, Any]:
    """Return the options of this block.

    Whoever asks again after the block needs them.
    """
    return _given.get()


def options_of(scheme: str) -> dict[str, Any]:
    """Return the options that a scheme's client is made with.

    They are those that were given, and those that nobody has set otherwise.
    """
    given = dict(_given.get())
    if scheme == "s3":
        given["config_kwargs"] = {**_OF_S3, **_configured("s3", "config_kwargs"), **given.get("config_kwargs", {})}
    if scheme in ("gs", "gcs") and getproxies():
        # gcsfs asks no proxy of the environment but where its session is told to trust that.
        session = {"trust_env": True, **_configured(scheme, "session_kwargs"), **given.get("session_kwargs", {})}
        given["session_kwargs"] = session
    return given


def _configured(scheme: str, name: str) -> Mapping[str, Any]:
    """Return the options of fsspec's own configuration.

    An argument would replace them as a whole.
    """
    from fsspec.config import conf

    found = conf.get(scheme, {}).get(name, {})
    return found if isinstance(found, Mapping) else {}
