"""Ranges of objects read straight into the caller's memory.

Over connections that go on where the last read stopped.

A read that begins where another one ended goes on with its answer: what reads in slabs, or one tensor after the other,
is served by few long answers, which grow with what was read in turn. Nothing is held here but what the system's sockets
hold: at most `_OPEN` answers that nobody reads just now.
"""

import weakref
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from ckpt_core import knobs
from ckpt_core.storage.remote.questions import Answer, Questions
from ckpt_core.storage.remote.retries import Clock, ask_again
from ckpt_core.storage.workers import check_stop, in_worker, run

_STEP = 1 << 20
"""Bytes between two looks at whether anybody still waits, and what of a broken answer is asked for again at most."""

_MOST = 64 << 20
"""Bytes of one range: enough that the question costs nothing, and an answer that breaks can go on elsewhere."""

_AHEAD = 32 << 20
"""Bytes that are asked for beyond a read, at most, once as many were read in turn."""

_SHARE = 8 << 20
"""Bytes that are worth a connection of their own."""

_OPEN = 16


@dataclass(slots=True)
class _Run:
    """Reads that followed each other.

    Their end is where the next one would begin, and the answer has its bytes.
    """

    position: int
    length: int = 0
    answer: Answer | None = None


class RangeReader:
    """Reads of the objects of one place. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._runs: OrderedDict[tuple[Questions, int], _Run] = OrderedDict()
        weakref.finalize(self, _close, self._runs)

    def read_into(self, questions: Questions, offset: int, out: memoryview) -> None:
        """Fill `out` from byte `offset` of an object.

        What is long is read in stretches, one a connection.

        Raises:
            FileNotFoundError, StatusError, OSError, HTTPException: As the last try said.
            ReplacedError, NoAnswerError: The answer is not what was asked.
        """
        shares = 1 if in_worker() else min(knobs.remote_connections(), max(len(out) // _SHARE, 1))
        share = -(-len(out) // shares)
        parts = [[at] for at in range(0, len(out), share or 1)]
        run(lambda part: self._fill(questions, offset + part[0], out[part[0] : part[0] + share]), parts)

    def close(self) -> None:
        """Give up the answers that nobody reads any more."""
        with self._lock:
            _close(self._runs)

    def _fill(self, questions: Questions, offset: int, out: memoryview) -> None:
        clock, done = Clock(), 0

        def once(_: float) -> None:
            nonlocal done
            while done < len(out):
                done += self._some(questions, offset + done, out[done:], clock)

        ask_again(once, clock=clock)

    def _some(self, questions: Questions, offset: int, out: memoryview, clock: Clock) -> int:
        """Read what one answer has of it."""
        check_stop()
        going = self._take(questions, offset)
        try:
            if going.answer is None:
                end = offset + max(min(len(out), _MOST), min(going.length, _AHEAD))
                going.answer = questions.open(offset, min(end, questions.wanted.size or end), clock)
            count = going.answer.readinto(out[:_STEP], clock)
        except BaseException:
            if going.answer is not None:
                going.answer.close()
            raise
        clock.came(count)
        going.position, going.length = offset + count, going.length + count
        going.answer = going.answer if going.answer.left else None
        self._keep(questions, going)
        return count

    def _take(self, questions: Questions, offset: int) -> _Run:
        with self._lock:
            return self._runs.pop((questions, offset), None) or _Run(offset)

    def _keep(self, questions: Questions, going: _Run) -> None:
        with self._lock:
            replaced = self._runs.pop((questions, going.position), None)
            self._runs[questions, going.position] = going
            over = [self._runs.popitem(last=False)[1] for _ in range(len(self._runs) - _OPEN)]
        for one in (replaced, *over):
            if one is not None and one.answer is not None:
                one.answer.close()


def _close(runs: OrderedDict[tuple[Questions, int], _Run]) -> None:
    while runs:
        going = runs.popitem()[1]
        if going.answer is not None:
            going.answer.close()
