"""Start-up: help and inspect as commands, against bare Python; inspect of a `.pth` in process, against torch."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import command, measure, report

_MAKE = """
import torch
from safetensors.torch import save_file
some = {{f"layers.{{i}}.w": torch.randn(64, 64) for i in range(300)}}
save_file(some, {folder!r} + "/some.safetensors")
torch.save(some, {folder!r} + "/some.pth")
save_file({{f"t{{i}}": torch.randn(8) for i in range(20000)}}, {folder!r} + "/many.safetensors")
"""


def main() -> None:
    """Measure with the interpreter and the `ckpt` beside it that this runs under."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _MAKE.format(folder=folder)], check=True)
        _commands(folder)
        _in_process(folder)


def _commands(folder: str) -> None:
    ckpt = str(Path(sys.executable).with_name("ckpt"))
    bare = [sys.executable, "-c", "pass"]
    torch_load = [sys.executable, "-c", f"import torch; torch.load({folder!r} + '/some.pth')"]
    jobs = {
        "ckpt --help": ([ckpt, "--help"], 6),
        "ckpt inspect FILE, piped": ([ckpt, "inspect", f"{folder}/some.safetensors"], 8),
        "ckpt inspect, 20,000 tensors, piped": ([ckpt, "inspect", f"{folder}/many.safetensors"], 15),
    }
    base = command(bare)
    for job, (argv, goal) in jobs.items():
        report(job, command(argv), {"bare python": min(base, command(bare))}, {"bare python": goal})
    torch_seconds = command(torch_load, rounds=3)
    inspect = command([ckpt, "inspect", f"{folder}/some.pth"])
    report("ckpt inspect of a .pth, as a command", inspect, {"torch.load": torch_seconds}, {"torch.load": 0.03})


def _in_process(folder: str) -> None:
    done = measure(
        "import torch, ckpt_core, zlib, pickle\n"
        f"path = {folder!r} + '/some.pth'\n"
        "ckpt_core.inspect(path); torch.load(path)\n",
        {"ours": "ckpt_core.inspect(path)", "torch.load": "torch.load(path)"},
    )
    peers = {"torch.load": done["torch.load"].seconds}
    report("inspect of a .pth, in process", done["ours"].seconds, peers, {"torch.load": 0.1})


if __name__ == "__main__":
    main()
