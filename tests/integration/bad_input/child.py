"""Runs each job in a fork of its own, in which an operation has 10 seconds and 2 GiB, and tells what it did.

The seconds (or SECONDS_OF_A_JOB of the environment) are the processor's, so that a busy machine changes no answer; what
waits for ever is stopped by the clock.

Started as `python child.py [torch]`; jobs as JSON on stdin, one a line; one line of JSON for each on stdout.
"""

import ctypes
import gc
import io
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback

SECONDS = int(os.environ.get("SECONDS_OF_A_JOB", "10"))
PATIENCE = 45
MEMORY = 2 << 30

_CAPABILITIES_3 = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 of linux/capability.h."""

_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.", "socket.", "urllib.", "pty.")
_RUNS += ("pickle.find_class", "code.__new__", "marshal.loads.from_file", "webbrowser.")
_WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_WRITES += ("os.utime", "os.putenv", "shutil.", "ctypes.", "open")

SCRATCH = None
"""Where conversions write to; in the parent's hands, who removes it."""


def command_line(ref, *args, to=None):
    """`ckpt … --json`: its exit code and everything it printed."""
    from ckpt_core.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = out, err
    try:
        code = main([*args, "--json", "--", ref, *([to] if to else [])])
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return {"exit": code, "out": out.getvalue(), "err": err.getvalue()}


def load(ref):
    """Every tensor of every component, as torch tensors."""
    import ckpt_core

    try:
        checkpoint = ckpt_core.load(ref)
        for component in checkpoint.manifest.components:
            checkpoint.to_torch(component.label)
    except ckpt_core.CkptError as error:
        return {"exit": error.exit_code, "message": error.message}
    return {"exit": 0, "message": ""}


def torch_load(ref, weights_only):
    import torch

    torch.load(ref, weights_only=weights_only, map_location="cpu")
    return {"exit": 0}


def unpickle(ref):
    import pickle

    with open(ref, "rb") as file:
        pickle.load(file)
    return {"exit": 0}


def safe_open(ref):
    from safetensors import safe_open

    with safe_open(ref, "np") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            file.get_slice(name).get_shape()
    return {"exit": 0}


def shown(ref):
    """What a person sees of it: the lines that are no text for a terminal."""
    from ckpt_core.cli.main import main

    out = io.StringIO()
    sys.stdout = sys.stderr = out
    try:
        code = main(["inspect", "--tensors", "--", ref])
        main(["verify", "--for", "resume", "--", ref])
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    lines = out.getvalue().split("\n")
    return {"exit": code, "wrong": [line[:200] for line in lines if not line.isprintable() or "Traceback" in line][:3]}


def convert(ref, component):
    """A conversion to safetensors in a folder of its own, and what a refused one leaves there."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        said = command_line(ref, "convert", "--component", component, to=os.path.join(folder, "x.safetensors"))
        left = [name for name in os.listdir(folder) if not name.endswith(".ckpt-lock")]
        return {**said, "left": left if said["exit"] else []}


OPERATIONS = {
    "inspect": lambda ref: command_line(ref, "inspect", "--tensors"),
    "layout": lambda ref: command_line(ref, "verify", "--depth", "layout"),
    "bytes": lambda ref: command_line(ref, "verify", "--depth", "bytes"),
    "values": lambda ref: command_line(ref, "verify", "--depth", "values"),
    "resume": lambda ref: command_line(ref, "verify", "--for", "resume"),
    "locate": lambda _, place: command_line(place, "locate", "--for", "resume"),
    "convert": convert,
    "shown": shown,
    "load": load,
    "weights_only": lambda ref: torch_load(ref, True),
    "torch_load": lambda ref: torch_load(ref, False),
    "unpickle": unpickle,
    "safe_open": safe_open,
}


def perform(name, ref):
    """One operation: what came of it, or the exception that it ended with."""
    begun = time.monotonic()
    try:
        operation, *argument = name.split("=", 1)
        result = OPERATIONS[operation](ref, *argument)
    except Exception as error:
        kind = f"{type(error).__module__}.{type(error).__name__}"
        result = {"exit": None, "raised": kind, "message": str(error)[:500], "trace": traceback.format_exc()[-3000:]}
    return {"op": name, "seconds": time.monotonic() - begun, "torch": "torch" in sys.modules, **result}


def forget_rights():
    """Let root be held to the rights of files like anybody: the capabilities of Linux are given up."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
        if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
            raise OSError(ctypes.get_errno(), "capset")


def watch(deeds):
    """Note every act that no reader of checkpoints needs."""

    def hook(event, args):
        opens = event == "open" and not (len(args) > 2 and _writes(args[2]))
        if event.startswith((*_RUNS, *_WRITES)) and not opens:
            deeds.append(f"{event} {str(args)[:200]}")

    sys.addaudithook(hook)


def _writes(flags):
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND) != 0


def run_child(job, pipe):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    forget_rights()
    deeds = []
    watch(deeds)
    for name in job["ops"]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS, resource.RLIM_INFINITY))
        said = perform(name, job["ref"])
        minded = [deed for deed in deeds if deed.startswith(_RUNS) or not name.startswith("convert")]
        said["deeds"] = minded[:10]
        deeds.clear()
        _write(pipe, json.dumps(said).encode() + b"\n")


def _write(pipe, data):
    while data:
        data = data[os.write(pipe, data) :]


def run(job):
    """The results of a job's operations; one that did not end is named as such."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.setsid()
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            run_child(job, writing)
        finally:
            os._exit(0)
    os.close(writing)
    results, hung = _collect(reading)
    os.close(reading)
    if hung:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    ending = "hang" if hung or os.WTERMSIG(status) == signal.SIGXCPU else "died"
    for name in job["ops"][len(results) :]:
        results.append({"op": name, "exit": None, "raised": ending, "message": f"status {status}"})
    return results


def _collect(pipe):
    found = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        if not ready:
            return [json.loads(line) for line in found.splitlines()], True
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return [json.loads(line) for line in found.splitlines()], False
        found += piece


def warm_up(refs, with_torch):
    """Import what every job needs by doing each once, on files that are good."""
    for ref in refs:
        for name in ("inspect", "values", *(["load"] if with_torch else [])):
            assert perform(name, ref)["exit"] == 0, perform(name, ref)
        if os.path.isdir(ref):
            label = json.loads(perform("inspect", ref)["out"])["result"]["components"][0]["component"]
            for name in ("resume", "shown", f"locate={os.path.dirname(ref)}", f"convert={label}"):
                perform(name, ref)
    gc.collect()
    gc.freeze()


def main():
    global SCRATCH
    first, *jobs = map(json.loads, sys.stdin)
    with tempfile.TemporaryDirectory() as SCRATCH:
        warm_up(first, "torch" in sys.argv[1:])
        for job in jobs:
            print(json.dumps({"name": job["name"], "results": run(job)}), flush=True)


if __name__ == "__main__":
    main()
