"""Copying a file to S3 and from it, proved and sealed, against what people use for it; the most memory of each."""

import os
import tempfile

from benchmarks.seaweedfs import seaweedfs
from benchmarks.timing import ROUNDS, measure, report

NBYTES = int(os.environ.get("CKPT_BENCH_BYTES", str(1 << 30)))

_SETUP = """
import threading
from ckpt_core import copy
import boto3, s3fs
from boto3.s3.transfer import TransferConfig
files = s3fs.S3FileSystem()
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
local, url, key, target, bucket = {local!r}, {url!r}, {key!r}, {target!r}, "ckpt"
files.info(url); client.head_object(Bucket=bucket, Key=key)
now, most = anonymous, [anonymous()]
def look():
    while True:
        most[0] = max(most[0], now())
        time.sleep(0.005)
def anonymous():
    return max(most[0], now())
threading.Thread(target=look, daemon=True).start()
"""
"""The memory that is measured is the most that there was, looked for every 5 ms."""

_UP = {
    "ckpt": "copy(local, url + '.ckpt.safetensors', force=True)",
    "s3fs.put": "files.put(local, url + '.s3fs')",
    "boto3": "client.upload_file(local, bucket, key + '.boto3')",
}

_DOWN = {
    "ckpt": "copy(url, target + '.safetensors', force=True)",
    "s3fs.get": "files.get(url, target + '.s3fs')",
    "boto3": "client.download_file(bucket, key, target + '.boto3')",
}


def main() -> None:
    import numpy as np

    import ckpt_core

    with tempfile.TemporaryDirectory() as folder, seaweedfs() as bucket:
        local = os.path.join(folder, "a.safetensors")
        shape = (NBYTES // 16 // 4096 // 4, 4096)
        draw = np.random.default_rng(0)
        ckpt_core.save({f"l{n}": draw.standard_normal(shape).astype("f4") for n in range(16)}, local)
        key = "bench/a.safetensors"
        ckpt_core.copy(local, f"{bucket}/{key}")
        target = os.path.join(folder, "b")
        setup = _SETUP.format(local=local, url=f"{bucket}/{key}", key=key, target=target)
        for job, methods in (("copy a file to S3", _UP), ("copy a file from S3", _DOWN)):
            found = measure(setup, methods, rounds=ROUNDS)
            ours = found.pop("ckpt")
            peers = {name: one.seconds for name, one in found.items()}
            memory = {"ckpt": ours.anonymous, **{name: one.anonymous for name, one in found.items()}}
            report(job, ours.seconds, peers, {}, nbytes=NBYTES, memory=memory)


if __name__ == "__main__":
    main()
