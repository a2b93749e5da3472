"""Draws a progress line on stderr, for a terminal.

It says how much of how much, how fast, how long it will take, and has a bar.
"""

from shutil import get_terminal_size
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import TextIO

from ckpt_core.cli.text import human_bytes

_EVERY = 0.1
"""Seconds between two drawings: often enough to look alive, rare enough to cost nothing."""

_KNOWN_AFTER = 1.0
"""Seconds before a rate says how long it will take."""

_CLEAR = "\r\x1b[K"
_NARROWEST, _WIDEST = 8, 30
"""Characters of the bar; where there is less room, it is left out."""


class Bar:
    """A progress line of bytes that were read.

    Any thread may report to it; it is wiped off at the end.
    """

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream = stream
        self._title = title
        self._lock = Lock()
        self._total = self._done = 0
        self._begun = monotonic()
        self._drawn = 0.0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._drawn:
            self._write(_CLEAR)

    def begin(self, total: int) -> None:
        """Begin a pass; a verb may have several, one after the other."""
        with self._lock:
            self._total, self._done, self._begun = total, 0, monotonic()
            self._draw(self._begun)

    def advance(self, nbytes: int) -> None:
        with self._lock:
            self._done += nbytes
            now = monotonic()
            if now - self._drawn >= _EVERY:
                self._draw(now)

    def line(self, now: float) -> str:
        """Return the line at a moment of the monotonic clock."""
        done = min(self._done, self._total)
        percent = 100 * done // self._total if self._total else 100
        said = f"{self._title}: {percent} % of {human_bytes(self._total)}{self._pace(done, now - self._begun)}"
        width = get_terminal_size().columns - 1
        room = min(width - len(said) - 1, _WIDEST)
        return f"{said} {self._bar(percent, room)}" if room >= _NARROWEST else said[:width]

    def _pace(self, done: int, seconds: float) -> str:
        if seconds <= 0:
            return ""
        rate = self._done / seconds
        left = f", {_clock((self._total - done) / rate)} left" if rate and seconds >= _KNOWN_AFTER else ""
        return f", {human_bytes(int(rate))}/s{left}"

    def _bar(self, percent: int, room: int) -> str:
        full, empty = ("█", "░") if (self._stream.encoding or "").lower().startswith("utf") else ("#", "-")
        filled = room * percent // 100
        return full * filled + empty * (room - filled)

    def _draw(self, now: float) -> None:
        self._drawn = now
        self._write(f"{_CLEAR}{self.line(now)}")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            pass  # a bar nobody sees must not stop the work


def _clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
