"""DCP of 4 ranks in F32 to a model directory in BF16, with and without the average; inspect of such a directory."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.convert import _prelude
from benchmarks.timing import command, measure, report

_SETUP = """
import os, shutil, torch, ckpt_core, numpy, xxhash
import safetensors.torch as st
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader
from ckpt_core.verbs.convert import convert
import ckpt_core.codecs.torch.items, ckpt_core.codecs.safetensors.writer
ckpt_core.get_plugin_manager()
f = {folder!r}
out = f + "/out"
shutil.rmtree(out, ignore_errors=True); os.mkdir(out)
import warnings; warnings.simplefilter("ignore")
def stock(place, kinds):
    table = FileSystemReader(place).read_metadata().state_dict_metadata
    for kind in kinds:
        state = {{k: torch.empty(m.size, dtype=torch.bfloat16) for k, m in table.items() if k.startswith(kind + ".")}}
        dcp.load(state, checkpoint_id=place, no_dist=True)
        st.save_file({{k.removeprefix(kind + "."): v for k, v in state.items()}}, out + "/" + kind + ".safetensors")
def raw(place):
    for name in os.listdir(place): shutil.copyfile(place + "/" + name, out + "/" + name)
"""


def main(layers: int = 128) -> None:
    """Measure on models of `layers` times 8 MiB, and of twice as much for memory."""
    for count in (layers, 2 * layers):
        with tempfile.TemporaryDirectory() as folder:
            _make(folder, count)
            _convert(folder, count)
            _memory(folder, count)
            if count == layers:
                _inspect(folder)


def _make(folder: str, layers: int) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "4", "--standalone"]
    script = str(Path(__file__).parent / "dcp_model.py")
    subprocess.run([*launch, script, folder, str(layers)], check=True, capture_output=True)


def _convert(folder: str, layers: int) -> None:
    for kinds in (("model",), ("model", "ema")):
        place = f"{folder}/{'both' if len(kinds) > 1 else 'model'}"
        ours = f"convert({place!r}, out + '/hf', to='hf', dtypes=['BF16'], components={list(kinds)!r})"
        methods = {"ours": ours, "dcp.load into BF16 + save_file": f"stock({place!r}, {kinds!r})"}
        if len(kinds) == 1:
            methods["accelerate merge-weights + cast"] = (
                "from accelerate.utils import merge_fsdp_weights\n"
                f"merge_fsdp_weights({place!r}, out + '/merged', safe_serialization=True)\n"
                "st.save_file({k: v.bfloat16() for k, v in st.load_file(out + '/merged/model.safetensors').items()}, "
                "out + '/cast.safetensors')"
            )
        methods["raw copy"] = f"raw({place!r})"
        done = measure(_SETUP.format(folder=folder), methods, prime=layers << 23)
        seconds = {name: result.seconds for name, result in done.items()}
        goals = {"dcp.load into BF16 + save_file": 0.33, "accelerate merge-weights + cast": 0.2, "raw copy": 1.4}
        mine = seconds.pop("ours")
        job = (
            f"DCP of 4 ranks to hf in BF16, {' and '.join(kinds)}, {(layers * len(kinds)) >> 7} GiB, proved and synced"
        )
        report(job, mine, seconds, {name: goal for name, goal in goals.items() if name in seconds})


def _memory(folder: str, layers: int) -> None:
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
    run = f"convert({folder + '/both'!r}, out + '/hf', to='hf', dtypes=['BF16'], components=['model', 'ema'])"
    script = _prelude() + _SETUP.format(folder=folder) + watch + run + "\nprint('PEAK', peak[0] - base)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    grown = int(done.stdout.split("PEAK")[1])
    job = "memory of a conversion of DCP, model and average"
    print(f'{{"job": "{job}", "model_bytes": {layers << 24}, "anonymous_bytes": {grown}}}')


def _inspect(folder: str) -> None:
    place = f"{folder}/both"
    ours = command([str(Path(sys.executable).parent / "ckpt"), "inspect", place])
    torch = command(
        [
            sys.executable,
            "-c",
            "from torch.distributed.checkpoint import FileSystemReader\n"
            f"print(len(FileSystemReader({place!r}).read_metadata().state_dict_metadata))",
        ],
        rounds=3,
    )
    bare = command([sys.executable, "-c", "pass"])
    report(
        "ckpt inspect of a DCP directory",
        ours,
        {"torch's read_metadata": torch, "bare Python": bare},
        {"torch's read_metadata": 0.03},
    )


if __name__ == "__main__":
    main()
