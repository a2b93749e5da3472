"""Verify: digest and finite check of a file, against a raw read, sha256 and torch.isfinite; memory."""

import subprocess
import sys
import tempfile

from benchmarks.timing import measure, report

_MAKE = """
import torch
from safetensors.torch import save_file
torch.manual_seed(0)
save_file({{f"l{{i}}": torch.randn(4096, 4096) for i in range({layers})}}, {path!r})
save_file({{f"l{{i}}": torch.randn(4096, 4096).bfloat16() for i in range(4)}}, {path!r} + ".bf16.safetensors")
"""

_SETUP = """
import ckpt_core, hashlib, numpy, xxhash, ckpt_core.reading.values, ckpt_core.builtin.seal_checks
from benchmarks.timing import drop_cache
ckpt_core.get_plugin_manager()
path = {path!r}
values = ckpt_core.Depth.VALUES
def raw():
    buffer = bytearray(8 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer): pass
"""


def main(layers: int = 16) -> None:
    """Measure on a model of `layers` times 64 MiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.safetensors"
        subprocess.run([sys.executable, "-c", _MAKE.format(layers=layers, path=path)], check=True)
        _whole(path, cold=False)
        _whole(path, cold=True)
        _finite(f"{path}.bf16.safetensors")
        _memory(path, layers)


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
