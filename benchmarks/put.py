"""Put a file into a real S3 server in a process of its own: against boto3's upload_file and obstore.put.

`python -m benchmarks.put [MiB]`. The server takes most of what a machine with few processors has; so beside the seconds
of the wall those of processors are told, of the client and of the server together, which a busy machine changes little.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import ROUNDS, report
from tests.servers.kept import ports_of
from tests.servers.seaweedfs import shared

_MOST = 64 << 20
"""Bytes of memory that a put may take."""

_PRELUDE = """
import os, sys, time
path, bucket = {path!r}, "ckpt"
endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
size = os.path.getsize(path)
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
"""

_OURS = """
from concurrent.futures import ThreadPoolExecutor
from threading import local
from ckpt_core.storage.objects.open_store import open_store
store, key = open_store("s3://ckpt/bench/ours")
store.head(key)
own, part, file = local(), store.part_bytes(size), os.open(path, os.O_RDONLY)
def put(number):
    own.buffer = getattr(own, "buffer", None) or bytearray(part)
    count = os.preadv(file, [own.buffer], (number - 1) * part)
    return store.put_part(key, upload, number, memoryview(own.buffer)[:count])
def run():
    global upload
    upload = store.begin_upload(key)
    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(put, range(1, -(-size // part) + 1)))
    assert store.complete(key, upload, parts).size == size
"""

_BOTO3 = """
import boto3
client = boto3.client("s3")
client.list_buckets()
def run():
    client.upload_file(path, bucket, "bench/boto3")
"""

_OBSTORE = """
from pathlib import Path
import obstore
from obstore.store import S3Store
keys = {"access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
store = S3Store(bucket, endpoint=endpoint, region="us-east-1", client_options={"allow_http": True}, **keys)
list(store.list("none"))
def run():
    obstore.put(store, "bench/obstore", Path(path))
"""

_TIMED = """
before, start, busy = peak(), time.perf_counter(), time.process_time()
run()
print(time.perf_counter() - start, time.process_time() - busy, peak() - before)
"""


def main(mib: int = 256) -> None:
    """Measure with a file of so many MiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))
        environment = {**os.environ, **shared(Path(folder) / "server", os.getpid())}
        server = _process_at(ports_of(Path(folder) / "server")["s3.port"])
        _measure(str(path), environment, server, mib)


def _measure(path: str, environment: dict[str, str], server: int, mib: int) -> None:
    methods = {"ours": _OURS, "boto3 upload_file": _BOTO3, "obstore.put": _OBSTORE}
    rounds: dict[str, list[list[float]]] = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, code in methods.items():
            script, spent = _PRELUDE.format(path=path) + code + _TIMED, _spent(server)
            done = subprocess.run(
                [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{name} failed:\n{done.stderr}")
            seconds, busy, grown = map(float, done.stdout.split())
            rounds[name].append([seconds, busy + _spent(server) - spent, grown, busy])
    least = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in rounds.items()}
    goals = {"boto3 upload_file": 0.85, "obstore.put": 0.9}
    for column, words in (
        (0, "seconds"),
        (1, "processors' seconds, client and server"),
        (3, "processors' seconds, client"),
    ):
        peers = {name: row[column] for name, row in least.items() if name != "ours"}
        report(f"put {mib} MiB to S3: {words}", least["ours"][column], peers, goals if column == 0 else {})
    memory = {name: int(max(row[2] for row in rows)) for name, rows in rounds.items()}
    print(
        json.dumps({"job": f"put {mib} MiB to S3: memory", "bytes": memory, "met": memory["ours"] <= _MOST}), flush=True
    )


def _process_at(port: int) -> int:
    """The server that was started with a port."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"-s3.port={port}".encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                return int(entry.name)
        except OSError:
            continue  # it has ended
    raise RuntimeError("the server's process is not found")


def _spent(process: int) -> float:
    """Seconds that processors have worked for a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
