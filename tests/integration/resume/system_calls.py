"""Every system call by which a process changes files below a folder, seen from outside and stopped at will.

It sees what Python, C++ and Rust do alike. The child asks the kernel to let its parent decide (seccomp's user
notification, Linux 5.5; seccomp_unotify(2)), which needs no privilege; the parent lets each call pass, or kills the
child before it, or after it wrote half of what it was to write.
"""

import ctypes
import os
import platform
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

_AT_FDCWD = -100
_WRITES = os.O_CREAT | os.O_TRUNC


class _Kind(NamedTuple):
    """How a call says what it changes: by which arguments: a descriptor, or paths with the folders they start in."""

    name: str
    descriptor: int | None = None
    paths: tuple[tuple[int | None, int], ...] = ()
    flags: int | None = None


_CALLS = {
    1: _Kind("write", 0),
    18: _Kind("pwrite", 0),
    20: _Kind("writev", 0),
    296: _Kind("pwritev", 0),
    328: _Kind("pwritev2", 0),
    40: _Kind("sendfile", 0),
    326: _Kind("copy_file_range", 2),
    77: _Kind("ftruncate", 0),
    285: _Kind("fallocate", 0),
    2: _Kind("open", paths=((None, 0),), flags=1),
    257: _Kind("open", paths=((0, 1),), flags=2),
    85: _Kind("open", paths=((None, 0),)),
    76: _Kind("truncate", paths=((None, 0),)),
    82: _Kind("rename", paths=((None, 0), (None, 1))),
    264: _Kind("rename", paths=((0, 1), (2, 3))),
    316: _Kind("rename", paths=((0, 1), (2, 3))),
    86: _Kind("link", paths=((None, 1),)),
    265: _Kind("link", paths=((2, 3),)),
    88: _Kind("symlink", paths=((None, 1),)),
    266: _Kind("symlink", paths=((1, 2),)),
    83: _Kind("mkdir", paths=((None, 0),)),
    258: _Kind("mkdir", paths=((0, 1),)),
    87: _Kind("unlink", paths=((None, 0),)),
    263: _Kind("unlink", paths=((0, 1),)),
    84: _Kind("rmdir", paths=((None, 0),)),
}
"""Numbers of x86-64 (linux/arch/x86/entry/syscalls/syscall_64.tbl)."""

TORN = ("write", "pwrite", "writev", "sendfile")
"""Calls of which half can be done."""


def missing() -> str:
    """Why calls cannot be seen on this machine; "" where they can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "the numbers of system calls are those of Linux on x86-64"
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    return "" if release >= (5, 5) else f"Linux {platform.release()}: seccomp lets calls continue from 5.5 on"


class Strike(NamedTuple):
    """Where a child is killed: before the N-th call, counted from 1, or having done half of it."""

    number: int
    torn: bool = False


@dataclass
class Ending:
    """How a child ended, and the calls it made below the folder, each with its path."""

    killed: bool
    exit_code: int
    calls: list[tuple[str, str]] = field(default_factory=list)


def fork_watched(root: Path, strike: Strike | None) -> Ending | None:
    """Fork; in the child, whose calls are watched from now on, None. In the parent, how the child ended.

    Args:
        root: Calls that change nothing below this folder are neither counted nor stopped.
        strike: Where to kill it; None lets it end.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        listener = _ask_to_be_watched()
        socket.send_fds(theirs, [b"x"], [listener])
        os.close(listener)
        theirs.close()
        return None
    theirs.close()
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    ours.close()
    calls = _Supervisor(child, descriptors[0], os.path.realpath(root), strike).run()
    _, status = os.waitpid(child, 0)
    os.close(descriptors[0])
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return Ending(killed, -1 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), calls)


class _Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


_SYS_SECCOMP, _SET_FILTER, _NEW_LISTENER = 317, 1, 8
_NO_NEW_PRIVILEGES = 38
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1


def _ask_to_be_watched() -> int:
    """Install the filter; the descriptor by which the parent is asked."""
    lines = [struct.pack("<HBBI", 0x20, 0, 0, 0)]  # load the number of the call
    for place, number in enumerate(_CALLS):
        lines.append(struct.pack("<HBBI", 0x15, len(_CALLS) - place, 0, number))  # equal: to the last line
    lines.append(struct.pack("<HBBI", 0x06, 0, 0, _ALLOW))
    lines.append(struct.pack("<HBBI", 0x06, 0, 0, _NOTIFY))
    program = _Filter(len(lines), b"".join(lines))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    found = libc.syscall(_SYS_SECCOMP, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if found < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(found)


class _Call(NamedTuple):
    id: int
    pid: int
    number: int
    arguments: tuple[int, ...]


class _Supervisor:
    """Answers the kernel for a child until the child is gone."""

    def __init__(self, child: int, listener: int, root: str, strike: Strike | None) -> None:
        self._child, self._listener, self._root, self._strike = child, listener, root, strike
        self._seen: list[tuple[str, str]] = []

    def run(self) -> list[tuple[str, str]]:
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        while True:
            (_, events), *_ = waiting.poll()
            if not events & select.POLLIN:
                return self._seen
            call = self._receive()
            if call is not None and not self._answer(call):
                return self._seen

    def _receive(self) -> _Call | None:
        data = bytearray(80)
        try:
            ioctl(self._listener, _RECEIVE, data)
        except OSError:
            return None  # the thread that asked is gone
        identity, pid, _, number, _, _, *arguments = struct.unpack("<QIIiIQ6Q", data)
        return _Call(identity, pid, number, tuple(arguments))

    def _answer(self, call: _Call) -> bool:
        """Let the call pass, or kill the child; whether it lives."""
        kind = _CALLS[call.number]
        path = self._path(kind, call)
        if path is not None:
            self._seen.append((kind.name, path))
            if self._strike is not None and len(self._seen) == self._strike.number:
                if self._strike.torn:
                    _write_half(call)
                os.kill(self._child, signal.SIGKILL)
                return False
        with suppress(OSError):
            ioctl(self._listener, _SEND, struct.pack("<QqiI", call.id, 0, 0, _CONTINUE))
        return True

    def _path(self, kind: _Kind, call: _Call) -> str | None:
        """What is changed, relative to the root; None where it is nothing below it."""
        if kind.flags is not None and not call.arguments[kind.flags] & _WRITES:
            return None
        for path in _changed(kind, call):
            if path.startswith(f"{self._root}/"):
                return os.path.relpath(path, self._root)
        return None


def _changed(kind: _Kind, call: _Call) -> Iterator[str]:
    process = f"/proc/{call.pid}"
    with suppress(OSError):  # the child gave a descriptor or an address that is none
        if kind.descriptor is not None:
            yield os.readlink(f"{process}/fd/{call.arguments[kind.descriptor]}")
        for folder, path in kind.paths:
            start = _AT_FDCWD if folder is None else ctypes.c_int(call.arguments[folder]).value
            base = os.readlink(f"{process}/cwd" if start == _AT_FDCWD else f"{process}/fd/{start}")
            named = _memory(call, call.arguments[path], 4096).split(b"\0")[0]
            above, name = os.path.split(os.path.join(base, os.fsdecode(named)).rstrip("/"))
            yield os.path.join(os.path.realpath(above), name)


def _memory(call: _Call, address: int, length: int) -> bytes:
    with open(f"/proc/{call.pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        try:
            return memory.read(length)
        except OSError:  # the last page is shorter
            memory.seek(address)
            return memory.read(4096 - address % 4096)


def _write_half(call: _Call) -> None:
    """Do the first half of a write in the child's place."""
    data = _given(call)
    position = call.arguments[3] if call.number == 18 else _position(call.pid, call.arguments[0])
    target = os.open(f"/proc/{call.pid}/fd/{call.arguments[0]}", os.O_WRONLY)
    try:
        os.pwrite(target, data[: len(data) // 2], position)
    finally:
        os.close(target)


def _position(pid: int, descriptor: int) -> int:
    with open(f"/proc/{pid}/fdinfo/{descriptor}") as info:
        return int(info.readline().split()[1])


def _given(call: _Call) -> bytes:
    """What a call is to write: bytes at an address, those of a vector of addresses, or those of another file."""
    _, second, third, fourth = call.arguments[:4]
    match _CALLS[call.number].name:
        case "writev":
            vector = struct.iter_unpack("<QQ", _memory(call, second, 16 * third))
            return b"".join(_memory(call, start, size) for start, size in vector if size)
        case "sendfile":
            start = struct.unpack("<Q", _memory(call, third, 8))[0] if third else _position(call.pid, second)
            with open(f"/proc/{call.pid}/fd/{second}", "rb") as source:
                source.seek(start)
                return source.read(fourth)
        case _:
            return _memory(call, second, third)
