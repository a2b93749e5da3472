"""A terminal of its own for a command: how it ends, and every byte that the terminal is sent."""

import os
import pty
import select
import signal
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSCTTY, TIOCSWINSZ


def at_a_terminal(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path | None = None,
    columns: int = 120,
    until: Callable[[str], bool] | None = None,
    keys: bytes = b"\x03",
) -> tuple[int, str]:
    """Run a command whose stdout and stderr are a terminal; return its exit code and what was sent there.

    Args:
        argv: The command.
        env: Its environment.
        cwd: Its folder.
        columns: The width of the terminal.
        until: Asked ten times a second with what was shown: the keys are typed once it says so. None for no keys.
        keys: What is typed then; Ctrl-C.
    """
    terminal, end = pty.openpty()
    ioctl(end, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=end,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - keys are for whose terminal it is
    )
    os.close(end)
    shown = b""
    arriving = select.poll()  # select takes no descriptor above 1023
    arriving.register(terminal, select.POLLIN)
    try:
        while True:
            if until is not None and until(shown.decode(errors="replace")):
                until = None
                os.write(terminal, keys)
            if until is None or arriving.poll(100):
                data = os.read(terminal, 1 << 16)
                if not data:
                    break
                shown += data
    except OSError:
        pass  # Linux says so when the other end is closed
    os.close(terminal)
    return process.wait(timeout=60), shown.decode()


def _take_terminal() -> None:
    """Make the terminal that of this process, and hear an interrupt, which jobs in the background ignore."""
    ioctl(1, TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
