"""Reading from S3: a large object into memory, and a cold model directory into a model.

A real SeaweedFS in a process of its own, on loopback; every method in a process of its own, methods in turn, the least of
several rounds. Memory is the greatest resident size that a method adds while it works, over the size of the object. The
raw socket asks once and receives into memory that is there, and proves nothing. `CKPT_BENCH_MIB` has other sizes.

    python -m benchmarks.remote_read
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import ROUNDS, report
from tests.servers.seaweedfs import shared

SIZES = [int(text) for text in os.environ.get("CKPT_BENCH_MIB", "256,1024").split(",")]
GOALS = {"s3fs cat_file": 0.3, "obstore.get": 0.8, "raw socket": 1.3}

_PRELUDE = """
import json, os, sys, time
import s3fs
def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
def begin():
    global _before, _start
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the greatest resident size is counted anew
    _before, _start = resident("VmRSS"), time.perf_counter()
def end():
    seconds = time.perf_counter() - _start
    print(json.dumps([seconds, resident("VmHWM") - _before]))
key, size = sys.argv[1], int(sys.argv[2])
fs = s3fs.S3FileSystem()
fs.ls("ckpt")
"""

_REGION = "from ckpt_core.reading.torch.memory import new_region; out = memoryview(new_region(size))[:size]\n"

_GET = {
    "ckpt": _REGION
    + """
from ckpt_core.storage.listing import list_files
files = list_files(f"s3://ckpt/{key}")
begin(); files.read_into(key, 0, out); end()
""",
    "s3fs cat_file": "begin(); out = fs.cat_file(f'ckpt/{key}'); end(); assert len(out) == size",
    "obstore.get": """
import obstore
from obstore.store import S3Store
store = S3Store("ckpt", endpoint=os.environ["AWS_ENDPOINT_URL_S3"], client_options={"allow_http": True})
begin(); out = obstore.get(store, key).bytes(); end(); assert len(out) == size
""",
    "raw socket": _REGION
    + """
import socket
from urllib.parse import urlsplit
url = urlsplit(fs.url(f"ckpt/{key}"))
begin()
with socket.create_connection((url.hostname, url.port)) as server:
    server.sendall(f"GET {url.path}?{url.query} HTTP/1.1\\r\\nHost: {url.netloc}\\r\\n\\r\\n".encode())
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += server.recv(1024)
    body = head.partition(b"\\r\\n\\r\\n")[2]
    out[: len(body)] = body
    came = len(body)
    while came < size:
        came += server.recv_into(out[came:])
end()
""",
}

_MODEL = """
import torch
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for number in range(16):
            value = torch.ones(size // 64, 1)
            self.register_parameter(f"w{number}", torch.nn.Parameter(value, requires_grad=False))
model = Model()
"""

_LOAD = {
    "ckpt": _MODEL
    + """
import ckpt_core
begin(); ckpt_core.load_into(model, f"s3://ckpt/{key}"); end()
assert model.w15[0, 0] == 15
""",
    "s3fs get, load_file": _MODEL
    + """
import glob, tempfile
from safetensors.torch import load_file
with tempfile.TemporaryDirectory() as folder:
    begin()
    fs.get(f"ckpt/{key}/", folder, recursive=True)
    state = {}
    for path in glob.glob(f"{folder}/**/*.safetensors", recursive=True):
        state |= load_file(path)
    model.load_state_dict(state)
    end()
assert model.w15[0, 0] == 15
""",
}


def main() -> None:
    """Measure each size, then the model; one JSON line for each."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(shared(Path(folder) / "seaweedfs", os.getpid()))
        for mib in SIZES:
            _put_object(f"{mib}.bin", mib << 20)
            best = _measure(_GET, f"{mib}.bin", mib << 20)
            _report(f"GET of {mib} MiB into memory", best, GOALS, mib << 20)
        size = SIZES[-1] << 20
        _put_model("model", size)
        _report(
            f"4 shards, {size >> 20} MiB, into a model",
            _measure(_LOAD, "model", size),
            {"s3fs get, load_file": 0.5},
            size,
        )


def _measure(methods: dict[str, str], key: str, size: int) -> dict[str, tuple[float, int]]:
    """Least seconds of each method, and the bytes that it added to the resident size in that round."""
    best: dict[str, tuple[float, int]] = {}
    for _ in range(ROUNDS):
        for name, code in methods.items():
            argv = [sys.executable, "-c", _PRELUDE + code, key, str(size)]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{name}: {done.stderr}")
            seconds, grown = json.loads(done.stdout.splitlines()[-1])
            best[name] = min(best.get(name, (float("inf"), 0)), (seconds, grown))
    return best


def _report(job: str, best: dict[str, tuple[float, int]], goals: dict[str, float], size: int) -> None:
    memory = {name: round(grown / size, 3) for name, (_, grown) in best.items()}
    seconds = {name: one for name, (one, _) in best.items()}
    ours = seconds.pop("ckpt")
    shown = {name: round(one, 3) for name, one in seconds.items()}
    report(job, ours, seconds, goals, memory=memory, seconds_of=shown)


def _put_object(key: str, size: int) -> None:
    import s3fs

    data = os.urandom(1 << 20) * (size >> 20)
    s3fs.S3FileSystem().pipe_file(f"ckpt/{key}", data)


def _put_model(key: str, size: int) -> None:
    import s3fs
    import torch
    from safetensors.torch import save

    client, index = s3fs.S3FileSystem(), {}
    for shard in range(4):
        file = f"model-0000{shard + 1}-of-00004.safetensors"
        held = {f"w{number}": torch.full((size // 64, 1), float(number)) for number in range(4 * shard, 4 * shard + 4)}
        client.pipe_file(f"ckpt/{key}/{file}", save(held, {"format": "pt"}))
        index |= dict.fromkeys(held, file)
    client.pipe_file(f"ckpt/{key}/model.safetensors.index.json", json.dumps({"weight_map": index}).encode())
    client.pipe_file(f"ckpt/{key}/config.json", b'{"model_type": "llama"}')


if __name__ == "__main__":
    main()
