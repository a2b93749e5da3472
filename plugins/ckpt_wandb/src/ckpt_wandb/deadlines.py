"""A deadline of our own for the client.

It asks again for twenty minutes and heeds no signal meanwhile.
"""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ckpt_core import NoAnswerError, remote_timeout

T = TypeVar("T")


THREAD = "ckpt-wandb"
"""The name of the threads that the client works in for us."""


def within_deadline(place: str, host: str, call: Callable[[], T]) -> T:
    """Return a call's value or raise its error.

    NoAnswerError where `CKPT_REMOTE_TIMEOUT` ends before it does.

    A call that is given up goes on in a thread that nothing waits for. What it logs of its requests is dropped: there
    are signed URLs in it.
    """
    _drop_logs()
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name=THREAD, daemon=True)
    thread.start()
    thread.join(remote_timeout())
    if raised:
        raise raised[0]
    if not returned:
        raise NoAnswerError(
            f"{place}: W&B at {host} did not answer within {remote_timeout()} s; "
            "check the connection and WANDB_BASE_URL, try again, or set CKPT_REMOTE_TIMEOUT"
        )
    return returned[0]


def _drop_logs() -> None:
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logger = logging.getLogger(name)
        if _is_of_others not in logger.filters:
            logger.addFilter(_is_of_others)


def _is_of_others(record: logging.LogRecord) -> bool:
    return record.threadName != THREAD
