"""Load: mapped, owned, into a model, with a cast, and 20,000 small tensors; warm."""

import sys
import tempfile
from pathlib import Path

from benchmarks.timing import measure, report

_MAKE = """
import torch
from safetensors.torch import save_file
folder = {folder!r}
torch.manual_seed(0)
big = {{f"layers.{{i}}.w": torch.randn(4096, 4096) for i in range({layers})}}
save_file(big, folder + "/big.safetensors")
torch.save(big, folder + "/big.pth")
small = {{f"t{{i}}": torch.randn(64) for i in range(20000)}}
save_file(small, folder + "/small.safetensors")
torch.save(small, folder + "/small.pth")
"""


def main(layers: int = 16) -> None:
    """Measure on a model of `layers` times 64 MiB."""
    with tempfile.TemporaryDirectory() as folder:
        import subprocess

        subprocess.run([sys.executable, "-c", _MAKE.format(folder=folder, layers=layers)], check=True)
        size = (Path(folder) / "big.safetensors").stat().st_size
        _whole(folder, size)
        _into_model(folder, size, layers)
        _cast(folder, size)
        _many(folder)


_IMPORTS = """
import torch, ckpt_core, safetensors.torch as st
import ckpt_core.reading.torch.tensors, ckpt_core.reading.torch.fill, ckpt_core.verbs.load_into, numpy
ckpt_core.get_plugin_manager()
f = {folder!r}
def read(path, **how): return ckpt_core.load(path).to_torch(**how)
"""


def _whole(folder: str, size: int) -> None:
    done = measure(
        _IMPORTS.format(folder=folder),
        {
            "mapped": "r = read(f + '/big.safetensors', mapped=True); touch(r.values())",
            "owned": "r = read(f + '/big.safetensors'); touch(r.values())",
            "owned .pth": "r = read(f + '/big.pth'); touch(r.values())",
            "load_file": "r = st.load_file(f + '/big.safetensors'); touch(r.values())",
            "load_file to owned": "r = {k: v.clone() for k, v in st.load_file(f + '/big.safetensors').items()}; touch(r.values())",
            "torch.load": "r = torch.load(f + '/big.pth'); touch(r.values())",
            "torch.load(mmap)": "r = torch.load(f + '/big.pth', mmap=True); touch(r.values())",
        },
        prime=size + (256 << 20),
    )
    seconds = {name: result.seconds for name, result in done.items()}
    report(
        "load mapped, warm",
        seconds["mapped"],
        {n: seconds[n] for n in ("load_file", "torch.load(mmap)")},
        {"load_file": 0.8},
        anonymous_bytes=done["mapped"].anonymous,
    )
    for job in ("owned", "owned .pth"):
        report(
            f"load {job}, warm",
            seconds[job],
            {n: seconds[n] for n in ("load_file", "load_file to owned", "torch.load")},
            {"load_file to owned": 0.3, "torch.load": 0.25},
            anonymous_bytes=done[job].anonymous,
        )


def _into_model(folder: str, size: int, layers: int) -> None:
    setup = _IMPORTS.format(folder=folder) + (
        "model = torch.nn.Module()\n"
        "model.layers = torch.nn.ModuleList()\n"
        f"for i in range({layers}):\n"
        "    layer = torch.nn.Module(); layer.w = torch.nn.Parameter(torch.zeros(4096, 4096)); model.layers.append(layer)\n"
    )
    done = measure(
        setup,
        {
            "ours": "ckpt_core.load_into(model, f + '/big.safetensors')",
            "load_file + copy_": "model.load_state_dict(st.load_file(f + '/big.safetensors'))",
            "torch.load + load_state_dict": "model.load_state_dict(torch.load(f + '/big.pth'))",
        },
        prime=2 * size,
    )
    peers = {name: result.seconds for name, result in done.items() if name != "ours"}
    goals = {"load_file + copy_": 0.5}
    report("load into a model", done["ours"].seconds, peers, goals, anonymous_bytes=done["ours"].anonymous)


def _cast(folder: str, size: int) -> None:
    done = measure(
        _IMPORTS.format(folder=folder),
        {
            "ours": "r = read(f + '/big.safetensors', dtype=torch.bfloat16)",
            "load_file + .to()": "r = {k: v.to(torch.bfloat16) for k, v in st.load_file(f + '/big.safetensors').items()}",
        },
        prime=2 * size,
    )
    report(
        "load with a cast",
        done["ours"].seconds,
        {"load_file + .to()": done["load_file + .to()"].seconds},
        {"load_file + .to()": 0.5},
        anonymous_bytes=done["ours"].anonymous,
    )


def _many(folder: str) -> None:
    done = measure(
        _IMPORTS.format(folder=folder),
        {
            "safetensors": "r = read(f + '/small.safetensors')",
            "pth": "r = read(f + '/small.pth')",
            "load_file": "r = st.load_file(f + '/small.safetensors')",
            "torch.load": "r = torch.load(f + '/small.pth')",
        },
    )
    seconds = {name: result.seconds for name, result in done.items()}
    peers = {name: seconds[name] for name in ("load_file", "torch.load")}
    report("20,000 tensors, .safetensors", seconds["safetensors"], peers, {"load_file": 0.35, "torch.load": 0.05})
    report("20,000 tensors, .pth", seconds["pth"], peers, {"torch.load": 0.05})


if __name__ == "__main__":
    main()
