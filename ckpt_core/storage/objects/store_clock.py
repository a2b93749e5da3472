"""A store's clock, told from the dates of its answers.

Those are in whole seconds.
"""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

_AGE = 30.0
"""Seconds for which the clock is told from earlier answers and this machine's."""


class StoreClock:
    """A store's clock, in seconds since 1970.

    Its answers have told it: it is at most one second late.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._heard = float("-inf")

    @property
    def is_stale(self) -> bool:
        """Return whether the clock is stale.

        The store has not been heard of for so long that it is to be asked.
        """
        return time.monotonic() - self._heard > _AGE

    def note(self, headers: Mapping[str, Any]) -> None:
        """Learn from the headers of an answer."""
        said = headers.get("date") or headers.get("Date")
        if said:
            ahead = parsedate_to_datetime(said).timestamp() - time.monotonic()
            self._ahead = ahead if self.is_stale else max(ahead, self._ahead)  # each date is cut to its second
            self._heard = time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._ahead
