"""Clients of stores kept quiet.

They log what they ask, with URLs and tokens in it.

While one of them works for us, what it logs is emptied before anybody's handlers see it; what went wrong is said in our
words, by whoever asked. What the same packages log for others is theirs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

LOUD = (
    *("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "gcsfs", "google", "httpcore", "httpx"),
    *("huggingface_hub", "requests", "s3fs", "urllib3"),
)
"""Packages that speak of what they ask."""

_NOT_SHOWN = "not shown, since it may hold addresses and tokens"

_lock = Lock()
_working: list[None] = []
"""One for each block in which a client works for us."""


@contextmanager
def quiet() -> Iterator[None]:
    """Empty what clients log during the block, on whichever thread."""
    with _lock:
        _listen()
        _working.append(None)
    try:
        yield
    finally:
        with _lock:
            _working.pop()


def prepare(scheme: str) -> None:
    """Set the environment that a scheme's clients read at import."""
    if scheme in ("gs", "gcs"):
        # With it the first use of each bucket asks a gRPC endpoint, and waits a minute where there is none.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def _listen() -> None:
    """Stand before the handlers of every package's parents.

    Records come to its own first.
    """
    import logging

    class Emptying(logging.Handler):
        def emit(self, record: "logging.LogRecord") -> None:
            if _working:
                record.msg, record.args = _NOT_SHOWN, ()
                record.exc_info = record.exc_text = record.stack_info = None

    for name in LOUD:
        logger = logging.getLogger(name)
        if not any(type(handler).__name__ == Emptying.__name__ for handler in logger.handlers):
            logger.addHandler(Emptying())
