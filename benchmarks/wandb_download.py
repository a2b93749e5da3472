"""Download an artifact of W&B, every byte hashed: against the client's own download, a raw socket and MD5 alone.

`python -m benchmarks.wandb_download [MiB]`. The server is the double of the tests, in a process of its own. Each method
runs in a process of its own, methods interleaved, the least of several rounds. The client's own download hashes nothing.
Artifacts of W&B have MD5; those that were logged with XXH128 show what a download costs where the hash costs little.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import PRIME, ROUNDS, report

_MOST = 64 << 20
"""Bytes of memory that a download may take beyond what its imports did."""

_PRELUDE = """
import hashlib, os, shutil, subprocess, sys, tempfile, time
root = tempfile.mkdtemp(dir=sys.argv[1])
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
"""

_OURS = """
from ckpt_wandb import download
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.refs import parse
open_artifact(parse("wandb://local/bench/{artifact}:v0")).entries
download("wandb://local/bench/small:v0", root + "/small")
def run():
    assert download("wandb://local/bench/{artifact}:v0", root + "/m").verified
"""

_CLIENT = """
import wandb
artifact = wandb.Api().artifact("local/bench/{artifact}:v0")
artifact.manifest.entries
wandb.Api().artifact("local/bench/small:v0").download(root=root + "/small", skip_cache=True)
def run():
    artifact.download(root=root + "/m", skip_cache=True)
"""

_SOCKET = """
import http.client, wandb
from urllib.parse import urlsplit
file = next(iter(wandb.Api().artifact("local/bench/{artifact}:v0").files(names=["large.bin"])))
parts, buffer = urlsplit(file.direct_url), memoryview(bytearray(1 << 20))
def run():
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", parts.path + "?" + parts.query)
    response = connection.getresponse()
    while response.readinto(buffer):
        pass
"""

_MD5 = """
data = memoryview(bytearray(os.urandom(1 << 20)))
def run():
    digest = hashlib.md5()
    for _ in range(int(sys.argv[2])):
        digest.update(data)
"""

_TIMED = """
subprocess.run([sys.executable, "-c", sys.argv[3]], check=True)  # what it touches is no part of this one's peak
before, start, busy = peak(), time.perf_counter(), time.process_time()
run()
print(time.perf_counter() - start, time.process_time() - busy, peak() - before)
shutil.rmtree(root)
"""

_OURS_XXH128 = "ours, XXH128"

METHODS = {
    "ours": _OURS.format(artifact="m"),
    _OURS_XXH128: _OURS.format(artifact="x"),
    "the client's download": _CLIENT.format(artifact="m"),
    "a socket": _SOCKET.format(artifact="m"),
    "md5 on one core": _MD5,
}

_LOG = """
import wandb
with wandb.init(project="bench", entity="local", settings=wandb.Settings(console="off", silent=True)) as run:
    for name, file, digest in (("m", "large.bin", "MD5"), ("x", "large.bin", "XXH128"), ("small", "small.bin", "MD5")):
        artifact = wandb.Artifact(name, "model", digest_algorithm=digest)
        artifact.add_file(sys.argv[1] + "/" + file, skip_cache=True, policy="immutable")
        run.log_artifact(artifact).wait()
"""


def main(mib: int = 256) -> None:
    """Measure with an artifact of one file of so many MiB."""
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "large.bin").open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))
        Path(folder, "small.bin").write_bytes(b"small")
        command = [sys.executable, "-m", "tests.servers.wandb", str(Path(folder, "server"))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            told = dict(word.split("=", 1) for word in server.stdout.readline().split())
            try:
                _measure(folder, {**os.environ, **told, **_folders(folder)}, mib)
            finally:
                server.terminate()


def _folders(base: str) -> dict[str, str]:
    names = {f"WANDB_{name}_DIR": f"{base}/{name.lower()}" for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT")}
    for name in names.values():
        Path(name).mkdir()
    return {**names, "WANDB_DIR": base, "NETRC": f"{base}/netrc", "WANDB_SILENT": "true", "CKPT_WANDB_CACHE_BYTES": "0"}


def _measure(folder: str, environment: dict[str, str], mib: int) -> None:
    _run("import sys" + _LOG, folder, environment, mib)
    rounds: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    for _ in range(ROUNDS):
        for name, code in METHODS.items():
            said = _run(_PRELUDE + code + _TIMED, folder, environment, mib)
            rounds[name].append(list(map(float, said.split()[-3:])))
    least = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in rounds.items()}
    peers = {name: row for name, row in least.items() if name not in ("ours", _OURS_XXH128)}
    seconds = {name: row[0] for name, row in peers.items()}
    seconds["the slower of socket and md5"] = max(seconds["a socket"], seconds["md5 on one core"])
    goals = {"the client's download": 1 / 1.5, "the slower of socket and md5": 1 / 0.8}
    for ours in ("ours", _OURS_XXH128):
        report(f"download {mib} MiB from W&B, hashed ({ours}): seconds", least[ours][0], seconds, goals)
        busy = {name: row[1] for name, row in peers.items()}
        report(f"download {mib} MiB from W&B, hashed ({ours}): processor seconds", least[ours][1], busy, {})
    memory = {name: int(max(row[2] for row in rows)) for name, rows in rounds.items()}
    print(
        json.dumps({"job": "memory", "bytes": memory, "met": max(memory["ours"], memory[_OURS_XXH128]) <= _MOST}),
        flush=True,
    )


def _run(script: str, folder: str, environment: dict[str, str], mib: int) -> str:
    prime = f"{PRIME}\nprime({(mib + 256) << 20})"
    command = [sys.executable, "-c", script, folder, str(mib), prime]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a method failed:\n{script}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
