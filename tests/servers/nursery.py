"""Processes that can be killed, forked by one that has imported everything and talks to nobody yet.

A process of its own costs some seconds of imports, a fork of this one nearly nothing; both die of SIGKILL the same way.
As a program it reads a line of JSON for each child: the module and function to call, its arguments, the environment.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Event

ROOT = Path(__file__).parents[2]


class Nursery:
    """A running nursery. One child lives at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.servers.nursery"]
        self._nurse = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._born = Event()
        self._child = 0

    def start(self, call: str, *args: object, env: Mapping[str, str]) -> None:
        """Let a child call a function.

        Args:
            call: As in `tests.module:function`.
            args: Its arguments, of what JSON has.
            env: What is added to the environment before.
        """
        self._born.clear()
        self._nurse.stdin.write(json.dumps({"call": call, "args": args, "env": dict(env)}) + "\n")
        self._nurse.stdin.flush()
        self._child = int(self._nurse.stdout.readline())
        self._born.set()

    def child(self) -> int:
        """The process of the child that was started last, for whoever is asked by it before `start` has returned."""
        assert self._born.wait(120)
        return self._child

    def wait(self) -> int:
        """How the child ended: its exit code, or the negative number of the signal."""
        return int(self._nurse.stdout.readline())

    def run(self, call: str, *args: object, env: Mapping[str, str]) -> int:
        """Start a child and wait for its end."""
        self.start(call, *args, env=env)
        return self.wait()

    def end(self) -> None:
        self._nurse.stdin.close()
        self._nurse.wait(120)
        self._nurse.stdout.close()


def _nurse() -> None:
    for line in sys.stdin:
        told = json.loads(line)
        child = os.fork()
        if not child:
            _work(**told)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _work(call: str, args: list[object], env: dict[str, str]) -> None:
    """Do it, and end with its exit code: that of an error of ours, 1 for any other."""
    from ckpt_core.errors import CkptError

    code = 1
    try:
        os.environ.update(env)
        module, _, function = call.partition(":")
        getattr(importlib.import_module(module), function)(*args)
        code = 0
    except CkptError as error:
        code = error.exit_code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _import_everything() -> None:
    import gcsfs  # noqa: F401
    import s3fs  # noqa: F401
    import torch  # noqa: F401

    import ckpt_core

    ckpt_core.get_plugin_manager()


if __name__ == "__main__":
    _import_everything()
    _nurse()
