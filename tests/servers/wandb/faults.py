"""Misbehaviour on demand: what goes wrong, of which requests, how often."""

import threading
from dataclasses import dataclass


@dataclass
class Fault:
    """One kind of misbehaviour.

    Attributes:
        what: A status as `503`; `drop` (closes without an answer), `cut` (half of the body), `stall` (half of the body,
            then silence), `flip` (wrong bytes of the right size), `short` (a shorter body that claims to be whole),
            `expire` (every URL that was given out so far is refused from now on, this one too).
        on: `file`, `manifest`, `upload` or `graphql`.
        name: Only requests for what has this in its name: a path, or a GraphQL operation.
        skip: So many such requests pass first.
        times: So many are hit; None for all.
    """

    what: str
    on: str = "file"
    name: str = ""
    skip: int = 0
    times: int | None = None


class Faults:
    """The faults that are set. Threads of the server ask, a test sets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: list[Fault] = []

    def add(self, what: str, on: str = "file", *, name: str = "", skip: int = 0, times: int | None = None) -> None:
        with self._lock:
            self._set.append(Fault(what, on, name, skip, times))

    def clear(self) -> None:
        with self._lock:
            self._set.clear()

    def hit(self, on: str, name: str) -> str | None:
        """What goes wrong with this request; None for nothing. URLs that expire are asked of apart."""
        return self._hit(on, name, expires=False)

    def expire(self, on: str, name: str) -> bool:
        """Return True where the URLs expire with this request."""
        return self._hit(on, name, expires=True) is not None

    def _hit(self, on: str, name: str, *, expires: bool) -> str | None:
        with self._lock:
            for fault in self._set:
                if fault.on != on or fault.name not in name or fault.times == 0 or (fault.what == "expire") != expires:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault.what
        return None
