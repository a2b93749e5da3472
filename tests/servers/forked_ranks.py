"""A program that runs scripts as torchrun or Python would, in forks of a process that has imported what they import.

It reads a line of JSON for each job: `imports` (statements), `script`, `arguments`, `ranks` (null for a script that is
not run by torchrun), `env`, and the files `out` and `err`. It answers with the exit codes of the ranks: one that fails
ends the others, as torchrun does. Nothing but imports ever happens in the process itself.
"""

import contextlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path


def serve() -> None:
    """Answer jobs until there are none; returns in the forks as well, when their script has ended."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    for line in sys.stdin:
        job = json.loads(line)
        _import(job.pop("imports"))
        reading, writing = os.pipe()
        leader = os.fork()
        if not leader:
            _lead(writing, **job)
            return
        os.close(writing)
        with os.fdopen(reading) as pipe:
            codes = pipe.read()
        os.waitpid(leader, 0)
        print(codes or "[70]", file=answers, flush=True)


def _import(statements: list[str]) -> None:
    for statement in statements:
        with contextlib.suppress(Exception):  # the script tells of it
            exec(statement, {})


def _lead(answer: int, script: str, arguments: list[str], ranks: int | None, env: dict[str, str], **files: str) -> None:
    """Fork the ranks, be their store, and wait for them. Returns in the ranks alone."""
    os.setpgid(0, 0)
    for file, target in (("out", 1), ("err", 2)):
        os.dup2(os.open(files[file], os.O_WRONLY | os.O_APPEND | os.O_CREAT), target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    heard, told = os.pipe()
    children = []
    for rank in range(ranks or 1):
        child = os.fork()
        if not child:
            os.close(answer)
            os.close(told)
            os.environ.clear()
            os.environ.update(env)
            if ranks is not None:
                os.environ.update(_as_torchrun(rank, ranks, _told(heard)))
            _run(script, arguments)
            return
        children.append(child)
    store = None if ranks is None else _store()  # after the forks, since it has threads
    os.write(told, b"%5d" % (store.port if store else 0) * len(children))
    os.write(answer, json.dumps(_ended(children)).encode())
    os._exit(0)


def _told(heard: int) -> int:
    return int(os.read(heard, 5))


def _store() -> object:
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def _as_torchrun(rank: int, ranks: int, port: int) -> dict[str, str]:
    """The environment of a rank, of one node. torchrun's own process holds the store, too: no rank binds a port."""
    same = {name: str(rank) for name in ("RANK", "LOCAL_RANK", "ROLE_RANK")}
    same |= {name: str(ranks) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE")}
    same |= {"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "ROLE_NAME": "default"}
    same |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return same | {"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0", "TORCHELASTIC_RUN_ID": "forked"}


def _run(script: str, arguments: list[str]) -> None:
    if "numpy" in sys.modules:  # Python's own generator is seeded anew in a fork, numpy's is not
        sys.modules["numpy"].random.seed()
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


def _ended(children: list[int]) -> list[int]:
    """The exit code of each; the rest are ended after one that failed."""
    codes: dict[int, int] = {}
    while len(codes) < len(children):
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        if codes[child]:
            for other in set(children) - codes.keys():
                os.kill(other, signal.SIGKILL)
    return [codes[child] for child in codes]


if __name__ == "__main__":
    serve()
