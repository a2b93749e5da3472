"""Scripts that make checkpoints for tests, in processes of their own: forks of one that has imported what they import.

The imports of torch and of what trains with it cost seconds in each rank, torchrun itself some more.
"""

import ast
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

_AT_ONCE = 2
"""Processes that wait for the next script which imports the same; each has some hundred megabytes."""


_LATER = {
    "accelerate": "deepspeed",
    "deepspeed": "deepspeed.runtime.zero.muon.original_muon",
    "torch": "torch._dynamo",
}
"""What a package imports once it trains; the rest of it is little."""

_LIGHT = {"numpy", "safetensors"}
"""What is no reason for a process of its own."""

_DIED = 70
"""The exit code of a job whose server has ended."""


class ForkedScripts:
    """What runs scripts in forks; each set of packages has a process of its own, which does nothing but import.

    Args:
        env: The environment in which they import.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = dict(env)
        self._running: dict[frozenset[str], subprocess.Popen[str]] = {}

    def run(
        self, script: Path, arguments: Sequence[object], *, ranks: int | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end.

        Args:
            script: A file.
            arguments: What it finds in `sys.argv`.
            ranks: How many run it together, as under torchrun; None for a script that is run by Python alone.
            timeout: Seconds.

        Returns:
            What they wrote together, and the exit code of the first that failed.

        Raises:
            subprocess.TimeoutExpired: It took longer; its processes are gone.
        """
        imports = imports_of(script)
        packages = frozenset().union(*map(_packages, ast.parse("\n".join(imports)).body)) - _LIGHT
        later = [f"import {_LATER[name]}" for name in sorted(packages & _LATER.keys())]
        command = [str(script), *map(str, arguments)]
        job = {"script": command[0], "arguments": command[1:], "ranks": ranks, "imports": imports + later}
        with tempfile.TemporaryDirectory() as folder:
            files = {name: str(Path(folder, name)) for name in ("out", "err")}
            codes = self._answer(packages, {**job, **files, "env": {**os.environ, **self._env}}, timeout)
            out, err = (_text(Path(file)) for file in files.values())
        if codes is None:
            raise subprocess.TimeoutExpired(command, timeout, out, err)
        return subprocess.CompletedProcess(command, next(filter(None, codes), 0), out, err)

    def _answer(self, packages: frozenset[str], job: dict[str, object], timeout: float) -> list[int] | None:
        """The exit codes of a job; None where it took too long."""
        server, codes = self._serving(packages), None
        try:
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            answering = select.poll()  # select takes no descriptor above 1023
            answering.register(server.stdout, select.POLLIN)
            if answering.poll(timeout * 1000):
                codes = json.loads(server.stdout.readline() or f"[{_DIED}]")
            return codes
        finally:
            if codes is None:  # or a test's own time limit has come
                self._end(packages)

    def end(self) -> None:
        """End all that wait."""
        for packages in list(self._running):
            self._end(packages)

    def _serving(self, packages: frozenset[str]) -> "subprocess.Popen[str]":
        server = self._running.pop(packages, None)
        if server is None or server.poll() is not None:
            while len(self._running) >= _AT_ONCE:
                self._end(next(iter(self._running)))
            server = _started({**os.environ, **self._env})
        self._running[packages] = server  # the last again
        return server

    def _end(self, packages: frozenset[str]) -> None:
        server = self._running.pop(packages)
        for process in (*_children(server.pid), server.pid):
            _kill(process)
        server.wait()
        server.stdin.close()
        server.stdout.close()


def imports_of(script: Path) -> list[str]:
    """The statements by which a script imports at once what is installed, and those of the modules beside it."""
    found: dict[str, None] = {}
    waiting, seen = [script], set()
    while waiting:
        seen.add(path := waiting.pop())
        for node in ast.parse(path.read_text()).body:
            for name in _packages(node):
                beside = script.with_name(f"{name}.py")
                if beside.exists():
                    waiting += {beside} - seen
                elif name not in sys.stdlib_module_names:
                    found[ast.unparse(node)] = None
    return list(found)


def _packages(node: ast.stmt) -> set[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module]
    return {name.partition(".")[0] for name in names}


def _started(env: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.servers.forked_ranks"]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _children(process: int) -> list[int]:
    """The groups of the job at which a server is."""
    try:
        return [-int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
