"""Verify: every byte and value against a raw read, sha256 and torch.isfinite; headers against parsing them; memory."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import ROUNDS, command, measure, report

_MAKE = """
import torch
from safetensors.torch import save_file
torch.manual_seed(0)
save_file({{f"l{{i}}": torch.randn(4096, 4096) for i in range({layers})}}, {path!r})
save_file({{f"l{{i}}": torch.randn(4096, 4096).bfloat16() for i in range(4)}}, {path!r} + ".bf16.safetensors")
"""

_SETUP = """
import ckpt_core, hashlib, numpy, xxhash, ckpt_core.reading.values, ckpt_core.builtin.seals.checks
from benchmarks.timing import drop_cache
ckpt_core.get_plugin_manager()
path = {path!r}
values = ckpt_core.Depth.VALUES
def raw():
    buffer = bytearray(8 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer): pass
"""


_MANY_TENSORS = """
import torch
from safetensors.torch import save_file
save_file({{f"model.layers.{{i}}.weight": torch.ones(8) for i in range({count})}}, {path!r} + "/x.safetensors")
"""

_MANY_FILES = """
import json, torch
from safetensors.torch import save_file
names = [f"model-{{i + 1:05}}-of-{count:05}.safetensors" for i in range({count})]
for i, name in enumerate(names):
    save_file({{f"layers.{{i}}.weight": torch.ones(8)}}, {path!r} + "/" + name)
index = {{"metadata": {{}}, "weight_map": {{f"layers.{{i}}.weight": name for i, name in enumerate(names)}}}}
open({path!r} + "/model.safetensors.index.json", "w").write(json.dumps(index))
open({path!r} + "/config.json", "w").write("{{}}")
"""

_HEADERS = """
import glob, json, struct
for path in glob.glob({path!r} + "/*.safetensors"):
    with open(path, "rb") as file:
        json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
"""
"""The least that can be done: each file opened, its header parsed."""


def main(layers: int = 16, tensors: int = 20_000, files: int = 1_000) -> None:
    """Measure on a model of `layers` times 64 MiB, a file of so many tensors, and a directory of so many files."""
    _layout(_MANY_TENSORS, tensors, f"{tensors:,} tensors in a file")
    _layout(_MANY_FILES, files, f"{files:,} files")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.safetensors"
        subprocess.run([sys.executable, "-c", _MAKE.format(layers=layers, path=path)], check=True)
        _whole(path, cold=False)
        _whole(path, cold=True)
        _finite(f"{path}.bf16.safetensors")
        _memory(path, layers)


def _layout(make: str, count: int, title: str) -> None:
    """The command at the layout depth: at most 8 bare Pythons and twice what parsing the headers takes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", make.format(count=count, path=folder)], check=True)
        place = folder if count == len(list(Path(folder).glob("*.safetensors"))) else f"{folder}/x.safetensors"
        ours = command([str(Path(sys.executable).with_name("ckpt")), "verify", "-q", place], rounds=ROUNDS)
        python = command([sys.executable, "-c", "pass"], rounds=ROUNDS)
        parsing = measure("", {"headers": _HEADERS.format(path=folder)})["headers"].seconds
        setup = "import ckpt_core\nckpt_core.get_plugin_manager()"
        grown = measure(setup, {"ours": f"assert ckpt_core.verify({place!r}).report.ok"}, rounds=1)["ours"].anonymous
    limit = 8 * python + 2 * parsing
    peers = {"8 bare Pythons and parsing the headers twice": limit}
    report(f"verify, layout of {title}", ours, peers, dict.fromkeys(peers, 1.0), anonymous_bytes=grown)


def _whole(path: str, *, cold: bool) -> None:
    setup = _SETUP.format(path=path) + ("drop_cache(path)\n" if cold else "raw()\n")
    done = measure(
        setup,
        {
            "ours": "assert ckpt_core.verify(path, depth=values).report.ok",
            "raw read": "raw()",
            "sha256": "hashlib.file_digest(open(path, 'rb'), 'sha256').hexdigest()",
        },
    )
    seconds = {name: result.seconds for name, result in done.items()}
    ours = seconds.pop("ours")
    goals = {"raw read": 1.1} if cold else {}
    report(f"verify, every byte and value, {'cold' if cold else 'warm'}", ours, seconds, goals)


def _finite(path: str) -> None:
    done = measure(
        "import torch, safetensors.torch as st, numpy\n"
        "from ckpt_core.reading.values import NonFinite\n"
        "from ckpt_core import DType\n"
        f"tensors = {{k: v.clone() for k, v in st.load_file({path!r}).items()}}\n"
        "blocks = [memoryview(v.view(torch.uint8).reshape(-1).numpy()) for v in tensors.values()]\n"
        "def ours():\n"
        "    for block in blocks:\n"
        "        check = NonFinite(DType.BF16)\n"
        "        for at in range(0, len(block), 1 << 20): check.update(block[at:at + (1 << 20)])\n"
        "ours()\n",
        {"ours": "ours()", "torch.isfinite": "[torch.isfinite(v).all().item() for v in tensors.values()]"},
    )
    peers = {"torch.isfinite": done["torch.isfinite"].seconds}
    report("finite check of BF16", done["ours"].seconds, peers, {"torch.isfinite": 0.05})


def _memory(path: str, layers: int) -> None:
    done = measure(_SETUP.format(path=path), {"ours": "ckpt_core.verify(path, depth=values)"}, rounds=1)
    print(f'{{"job": "memory of verify", "model_bytes": {layers << 26}, "anonymous_bytes": {done["ours"].anonymous}}}')


if __name__ == "__main__":
    main()
