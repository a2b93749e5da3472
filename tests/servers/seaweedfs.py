"""A real S3 server for tests: SeaweedFS's `weed`, on loopback and free ports, gone when the run is.

Every worker of a test run shares the one that the first of them started. This file run as a program with a folder and a
process id is its keeper: it starts the server, notes the ports in the folder, and stops it when that process is gone.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY, SECRET, BUCKET = "testkey", "testsecret", "ckpt"
_PORTS = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port", "metricsPort")
_OFF = (
    "admin.ui=false",
    "webdav=false",
    "s3.port.iceberg=0",
    "s3.port.lance=0",
    "master.telemetry=false",
    "s3.autoCreateBucket=false",  # else a bucket that is missing is made, and no test of that can fail
)
_PATIENCE = 60.0
"""Seconds until the first object must have been written; two are usual."""

_GRPC = 10_000
"""Each server opens a second port, this far above its own."""


def environment(folder: Path) -> dict[str, str]:
    """What an S3 client needs to know of the server whose ports are in a folder."""
    port = json.loads((folder / "ports.json").read_text())["s3.port"]
    return {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def shared(folder: Path, watched: int) -> dict[str, str]:
    """The environment of the run's server, started where it is not running yet."""
    folder.mkdir(exist_ok=True)
    with _alone(folder / "lock"):
        if not (folder / "ready").exists():
            _start(folder, watched)
            (folder / "ready").touch()
    return environment(folder)


def _start(folder: Path, watched: int) -> None:
    """Start a server and wait until it takes an object. A port that somebody else took meanwhile costs an attempt."""
    for _ in range(3):
        (folder / "ports.json").unlink(missing_ok=True)
        keeper = _spawn([sys.executable, __file__, str(folder), str(watched)], folder / "log")
        if _answers(folder, keeper):
            return
        if not _ended(keeper):
            os.kill(keeper, signal.SIGTERM)
            os.waitpid(keeper, 0)
    raise RuntimeError(f"SeaweedFS did not start:\n{(folder / 'log').read_text()[-2000:]}")


def _spawn(argv: list[str], log: Path) -> int:
    """The id of a process of its own session, which is meant to outlive whoever started it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsid=True)


def _ended(process: int) -> bool:
    try:
        return os.waitpid(process, os.WNOHANG)[0] == process
    except ChildProcessError:
        return True


def _answers(folder: Path, keeper: int) -> bool:
    import s3fs

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and not _ended(keeper):
        try:
            env = environment(folder)
            client = s3fs.S3FileSystem(
                key=KEY,
                secret=SECRET,
                endpoint_url=env["AWS_ENDPOINT_URL_S3"],
                client_kwargs={"region_name": "us-east-1"},
                skip_instance_cache=True,
            )
            client.pipe_file(f"{BUCKET}/started", b"x")
            return True
        except (OSError, ValueError, KeyError):
            time.sleep(0.2)  # not up yet
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore"):
                raise
            time.sleep(0.2)
    return False


def _keep(folder: Path, watched: int) -> None:
    """Run the server until the watched process is gone, then stop it by its process id and remove its data."""
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    data = tempfile.mkdtemp(prefix="seaweedfs-")
    options = [f"-{name}={port}" for name, port in ports.items()] + [f"-{option}" for option in _OFF]
    weed = str(Path(sys.executable).with_name("weed"))
    server = subprocess.Popen(
        [weed, "mini", f"-dir={data}", f"-bucket={BUCKET}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options],
        env={**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
    )
    try:
        (folder / "ports.json").write_text(json.dumps(ports))
        while server.poll() is None and _alive(watched):
            time.sleep(0.2)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(data, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + _GRPC))
            except (OSError, OverflowError):
                continue
        if port not in found:
            found.append(port)
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _keep(Path(sys.argv[1]), int(sys.argv[2]))
