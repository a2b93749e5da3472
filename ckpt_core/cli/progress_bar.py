"""A progress line on stderr, for a terminal."""

from threading import Lock
from time import monotonic
from types import TracebackType
from typing import TextIO

from ckpt_core.cli.text import human_bytes

_EVERY = 0.1
"""Seconds between two drawings: often enough to look alive, rare enough to cost nothing."""

_CLEAR = "\r\x1b[K"


class Bar:
    """Shows how many bytes of how many were read. Any thread may report to it; it is wiped off at the end."""

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
        self._total, self._begun = total, monotonic()
        self._draw(self._begun)

    def advance(self, nbytes: int) -> None:
        with self._lock:
            self._done += nbytes
            now = monotonic()
            if now - self._drawn >= _EVERY:
                self._draw(now)

    def line(self, now: float) -> str:
        """What is shown at a moment of the monotonic clock."""
        done = min(self._done, self._total)
        percent = 100 * done // self._total if self._total else 100
        speed = f", {human_bytes(int(self._done / (now - self._begun)))}/s" if now > self._begun else ""
        return f"{self._title}: {percent} % of {human_bytes(self._total)}{speed}"

    def _draw(self, now: float) -> None:
        self._drawn = now
        self._write(f"{_CLEAR}{self.line(now)}")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            pass  # a bar nobody sees must not stop the work
