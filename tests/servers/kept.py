"""Servers that all workers of a test run share: started by the first that asks, stopped when the run is gone.

A module of such a server calls `shared` with its own name, and is run as a program with a folder and a process id: then
it calls `keep`, which runs the server, notes its ports in the folder, and stops it when that process is gone.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PATIENCE = 60.0
"""Seconds until the first object must have been written; two are usual."""


def ports_of(folder: Path) -> dict[str, int]:
    return json.loads((folder / "ports.json").read_text())


def shared(module: str, folder: Path, watched: int, answers: Callable[[], bool]) -> None:
    """Start the server of a module, where no other worker has.

    Args:
        module: Which is run to keep it.
        folder: For its ports and its log.
        watched: The process with which it ends.
        answers: Whether it takes an object. What it raises is raised here.

    Raises:
        RuntimeError: It did not start, three times.
    """
    folder.mkdir(exist_ok=True)
    with _alone(folder / "lock"):
        if not (folder / "ready").exists():
            _start(module, folder, watched, answers)
            (folder / "ready").touch()


def _start(module: str, folder: Path, watched: int, answers: Callable[[], bool]) -> None:
    """Start a server and wait until it takes an object. A port that somebody else took meanwhile costs an attempt."""
    for _ in range(3):
        (folder / "ports.json").unlink(missing_ok=True)
        keeper = _spawn([sys.executable, "-m", module, str(folder), str(watched)], folder / "log")
        if _answers(folder, keeper, answers):
            return
        if not _ended(keeper):
            os.kill(keeper, signal.SIGTERM)
            os.waitpid(keeper, 0)
    raise RuntimeError(f"{module} did not start:\n{(folder / 'log').read_text()[-2000:]}")


def _spawn(argv: list[str], log: Path) -> int:
    """The id of a process of its own session, which is meant to outlive whoever started it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True)


def _answers(folder: Path, keeper: int, answers: Callable[[], bool]) -> bool:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and not _ended(keeper):
        if (folder / "ports.json").exists() and answers():
            return True
        time.sleep(0.05)
    return False


def _ended(process: int) -> bool:
    try:
        return os.waitpid(process, os.WNOHANG)[0] == process
    except ChildProcessError:
        return True


def keep(
    ports: Mapping[str, int], command: Callable[[str], Sequence[str]], environment: Mapping[str, str] | None = None
) -> None:
    """Run a server until the watched process is gone, then stop it by its process id and remove its data.

    Args:
        ports: By name, as the folder is to tell them.
        command: The server's, for a folder of its data.
        environment: What is added to this process's.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder, watched = Path(sys.argv[1]), int(sys.argv[2])
    data = tempfile.mkdtemp(prefix="server-")
    server = subprocess.Popen(command(data), env={**os.environ, **(environment or {})})
    try:
        written = folder / "ports.json.new"
        written.write_text(json.dumps(ports))
        written.rename(folder / "ports.json")
        while server.poll() is None and _alive(watched):
            time.sleep(0.2)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(data, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def free_ports(names: Sequence[str], *, beside: int | None = None) -> dict[str, int]:
    """A free port for each name, of which the one so far above it is free as well."""
    found: dict[str, int] = {}
    while len(found) < len(names):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", 0 if beside is None else port + beside))
            except (OSError, OverflowError):
                continue
        if port not in found.values():
            found[names[len(found)]] = port
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
