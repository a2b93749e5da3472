"""Convert and save: `.pth` to safetensors with certificate, save with digests and durable, 20,000 tensors; memory."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import measure, report

_MAKE = """
import torch
torch.manual_seed(0)
torch.save({{f"layers.{{i}}.w": torch.randn(4096, 4096) for i in range({layers})}}, {path!r})
"""

_SETUP = """
import os, shutil, torch, ckpt_core, numpy, xxhash
import safetensors.torch as st
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save
import ckpt_core.layouts.in_memory, ckpt_core.codecs.torch.zip_layout, ckpt_core.codecs.safetensors.writer
ckpt_core.get_plugin_manager()
f = {folder!r}
out = f + "/out"
shutil.rmtree(out, ignore_errors=True); os.mkdir(out)
def sync(path):
    d = os.open(path, os.O_RDONLY); os.fsync(d); os.close(d)
"""


def main(layers: int = 16) -> None:
    """Measure on models of `layers` times 64 MiB, and of twice as much for memory."""
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("one", layers), ("two", 2 * layers)):
            path = f"{folder}/{name}.pth"
            subprocess.run([sys.executable, "-c", _MAKE.format(layers=count, path=path)], check=True)
        _convert(folder, layers)
        _memory(folder)
        _save(folder, layers)
        _many(folder)


def _convert(folder: str, layers: int) -> None:
    done = measure(
        _SETUP.format(folder=folder),
        {
            "ours, durable": "convert(f + '/one.pth', out + '/x.safetensors')",
            "torch.load(mmap) + save_file": "st.save_file(torch.load(f + '/one.pth', mmap=True), out + '/x.safetensors')",
            "torch.load(mmap) + save_file + fsync": (
                "st.save_file(torch.load(f + '/one.pth', mmap=True), out + '/x.safetensors'); "
                "sync(out + '/x.safetensors')"
            ),
            "cp": "shutil.copyfile(f + '/one.pth', out + '/x')",
            "cp + fsync": "shutil.copyfile(f + '/one.pth', out + '/x'); sync(out + '/x')",
        },
        prime=layers << 26,
    )
    seconds = {name: result.seconds for name, result in done.items()}
    goals = {"torch.load(mmap) + save_file": 0.3, "cp": 0.6}
    ours = seconds.pop("ours, durable")
    report(".pth to safetensors, proved, sealed, synced", ours, seconds, goals)


def _memory(folder: str) -> None:
    """Anonymous memory at its peak above start-up, sampled by the process itself."""
    watch = """
import threading
peak = [0]
def sample():
    while True:
        peak[0] = max(peak[0], anonymous()); time.sleep(0.002)
base = anonymous()
threading.Thread(target=sample, daemon=True).start()
"""
    for name in ("one", "two"):
        code = f"convert(f + '/{name}.pth', out + '/x.safetensors', dtypes=['BF16'])\nprint('PEAK', peak[0] - base)"
        script = _prelude() + _SETUP.format(folder=folder) + watch + code
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        grown = int(done.stdout.split("PEAK")[1])
        size = Path(folder, f"{name}.pth").stat().st_size
        print(f'{{"job": "memory of a conversion with a cast", "model_bytes": {size}, "anonymous_bytes": {grown}}}')


def _prelude() -> str:
    from benchmarks import timing

    return timing._PRELUDE


def _save(folder: str, layers: int) -> None:
    setup = _SETUP.format(folder=folder) + f"m = {{f'l.{{i}}': torch.randn(4096, 4096) for i in range({layers})}}\n"
    done = measure(
        setup,
        {
            "ours, proved, sealed, synced": "save(m, out + '/x.safetensors')",
            "save_file": "st.save_file(m, out + '/x.safetensors')",
            "save_file + fsync": "st.save_file(m, out + '/x.safetensors'); sync(out + '/x.safetensors')",
            "torch.save": "torch.save(m, out + '/x.pth')",
        },
    )
    seconds = {name: result.seconds for name, result in done.items()}
    ours = seconds.pop("ours, proved, sealed, synced")
    report("save", ours, seconds, {"save_file": 0.75, "save_file + fsync": 0.6})


def _many(folder: str) -> None:
    setup = _SETUP.format(folder=folder) + "m = {f't{i}': torch.randn(64) for i in range(20000)}\n"
    done = measure(
        setup,
        {
            "ours, proved, sealed, synced": "save(m, out + '/x.safetensors')",
            "save_file": "st.save_file(m, out + '/x.safetensors')",
            "torch.save": "torch.save(m, out + '/x.pth')",
        },
    )
    seconds = {name: result.seconds for name, result in done.items()}
    ours = seconds.pop("ours, proved, sealed, synced")
    report("save 20,000 tensors", ours, seconds, {"save_file": 0.3})


if __name__ == "__main__":
    main()
