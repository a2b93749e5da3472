"""Sends messages to a trainer's own way of logging.

That is a logger, a function that prints, or nothing of its own.
"""

import logging
from collections.abc import Callable

Logger = logging.Logger | Callable[[str], object] | None
"""What minimind's scripts hand over: its `Logger` is a function that prints on the first rank."""


class Voice:
    """Logs messages and warnings for a trainer."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logging.getLogger("ckpt_minillm") if logger is None else logger

    def say(self, text: str) -> None:
        if isinstance(self._logger, logging.Logger):
            self._logger.info("%s", text)
        else:
            self._logger(text)

    def warn(self, text: str) -> None:
        if isinstance(self._logger, logging.Logger):
            self._logger.warning("%s", text)
        else:
            self._logger(f"WARNING: {text}")
