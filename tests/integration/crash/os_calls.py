"""Every call by which a process changes files, seen and stopped at will, in a forked child.

Only the operating system is stood in for: functions of `os`, and renameat2, which Python does not have. Our own code
runs as it is.
"""

import errno
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock
from typing import Any, NamedTuple

from ckpt_core.errors import CkptError
from ckpt_core.storage.writing import syscalls

Call = Callable[..., Any]
Around = Callable[[str, Call, tuple[Any, ...], dict[str, Any]], Any]

CHANGING = (
    "pwrite",
    "write",
    "posix_fallocate",
    "ftruncate",
    "fsync",
    "fdatasync",
    "mkdir",
    "rename",
    "link",
    "unlink",
    "rmdir",
)
_write, _open, _close = os.write, os.open, os.close


class Fault(NamedTuple):
    """What happens to the N-th call, counted from 1: `before`, `after`, `torn` (killed then), `ENOSPC`, `EIO`."""

    number: int
    how: str


@dataclass(frozen=True)
class Ending:
    """How a child ended: killed, with an error, or well. `value` is what its work returned."""

    killed: bool
    error: str = ""
    exit_code: int = 0
    message: str = ""
    value: Any = None

    @property
    def well(self) -> bool:
        return not self.killed and not self.error


def intercept(around: Around) -> None:
    """Let `around(name, call, args, kwargs)` decide about every call that changes a file."""

    def wrap(name: str, call: Call) -> Call:
        return lambda *args, **kwargs: around(name, call, args, kwargs)

    for name in CHANGING:
        setattr(os, name, wrap(name, getattr(os, name)))
    creating = wrap("open", os.open)

    def opened(path: Any, flags: int, *rest: Any, **kwargs: Any) -> int:
        return (creating if flags & os.O_CREAT else _open)(path, flags, *rest, **kwargs)

    os.open = opened
    syscalls.renameat2 = wrap("renameat2", syscalls.renameat2)


class Stopper:
    """Counts calls, and strikes at one of them."""

    def __init__(self, fault: Fault | None) -> None:
        self.names: list[str] = []
        self._fault = fault
        self._lock = RLock()

    def __call__(self, name: str, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._lock:
            self.names.append(name)
            struck = self._fault is not None and len(self.names) == self._fault.number
        return self._strike(name, call, args, kwargs) if struck else call(*args, **kwargs)

    def _strike(self, name: str, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        how = self._fault.how
        if how in ("ENOSPC", "EIO"):
            code = getattr(errno, how)
            if name == "renameat2":
                return code
            raise OSError(code, os.strerror(code))
        if how == "torn":
            descriptor, data, *rest = args
            call(descriptor, data[: len(data) // 2], *rest)
        elif how == "after":
            with suppress(OSError):
                call(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")


def faults_of(names: list[str]) -> list[Fault]:
    """Every fault that fits the calls of an undisturbed run."""
    found = []
    for number, name in enumerate(names, 1):
        torn = ("torn",) if name in ("pwrite", "write") else ()
        found += [Fault(number, how) for how in ("before", "after", *torn, "ENOSPC", "EIO")]
    return found


def in_child(work: Callable[[], Any]) -> Ending:
    """Run `work` in a forked child; what it returns comes back as JSON."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking beside idle threads
        child = os.fork()
    if child == 0:
        try:
            _write(writing, json.dumps(_told(work)).encode())
        finally:
            os._exit(0)
    _close(writing)
    with open(reading, "rb") as answers:
        answer = answers.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return Ending(killed=True)
    return Ending(killed=False, **json.loads(answer))


def _told(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": work()}
    except BaseException as error:
        code = error.exit_code if isinstance(error, CkptError) else 70
        return {"error": type(error).__name__, "exit_code": code, "message": str(error)}
