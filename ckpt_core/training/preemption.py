"""SIGTERM and SIGUSR1 turned into a wish.

A loop sees it at its next step; a second one ends the process at once.

Schedulers send SIGTERM some time before they kill, Slurm's `--signal` what it is told, mostly SIGUSR1.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ckpt_core.log import Logger

_log = Logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preemption:
    """The wish that this process end, if any.

    Attributes:
        signal: The signal that asked; None where none did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._process = os.getpid()

    @property
    def exit_code(self) -> int:
        """Return the exit code of a process that a signal ended.

        It is as a shell gives it: 143 for SIGTERM, 138 for SIGUSR1.
        """
        return 128 + (self.signal or 0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take both signals for a block.

        In a thread other than the main one, none.
        """
        if threading.current_thread() is not threading.main_thread():
            _log.warning("signals are taken in the main thread alone; SIGTERM ends this training without a save")
            yield
            return
        self._process = os.getpid()
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> Any:
        if self.signal is None and os.getpid() == self._process:
            self.signal = number
            return
        os._exit(128 + number)  # nothing is torn: what is committed is whole, and a stage has no name
