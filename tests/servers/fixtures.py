"""Fixtures of the servers, for the tests of every package here: each is started when it is first asked for."""

import logging
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.nursery import Nursery
from tests.servers.places import Place


@dataclass(frozen=True, slots=True)
class FaultyPlace(Place):
    """A place whose server is reached through a proxy that misbehaves where it is told to.

    Attributes:
        proxy: That proxy.
        behind: The same place, without the proxy: only its `env` tells another address.
    """

    proxy: FaultProxy
    behind: Place


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process needs to reach the S3 server of this run."""
    from tests.servers.seaweedfs import shared

    return shared(_of_run(tmp_path_factory) / "seaweedfs", _run())


@pytest.fixture(scope="session")
def gcs_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process needs to reach the GCS server of this run."""
    from tests.servers.fake_gcs import shared

    return shared(_of_run(tmp_path_factory) / "fake-gcs", _run())


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What forks processes that can be killed."""
    running = Nursery()
    yield running
    running.end()


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder on a real S3 server, and the environment of this process set to reach it."""
    with _reached(s3_environment, monkeypatch):
        yield Place(f"s3://ckpt/{uuid.uuid4().hex}", s3_environment)


@pytest.fixture
def gcs(gcs_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder on a GCS server, and the environment of this process set to reach it."""
    with _reached(gcs_environment, monkeypatch):
        yield Place(f"gs://ckpt/{uuid.uuid4().hex}", gcs_environment)


@pytest.fixture
def faulty_s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyPlace]:
    """As `s3`, with a `FaultProxy` in between."""
    yield from _faulty(s3_environment, "AWS_ENDPOINT_URL_S3", "s3://ckpt", monkeypatch)


@pytest.fixture
def faulty_gcs(gcs_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyPlace]:
    """As `gcs`, with a `FaultProxy` in between."""
    yield from _faulty(gcs_environment, "STORAGE_EMULATOR_HOST", "gs://ckpt", monkeypatch)


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An empty bucket of moto, in this process's memory: quick, it takes any key, and has versions and locks."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testkey",
        "AWS_SECRET_ACCESS_KEY": "testsecret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    _emptied(environment["AWS_ENDPOINT_URL_S3"])  # all its servers in one process have the same buckets
    try:
        with _reached(environment, monkeypatch):
            place = Place("s3://ckpt", environment)
            place.filesystem.mkdir("ckpt")
            yield place
    finally:
        _emptied(environment["AWS_ENDPOINT_URL_S3"])
        server.stop()


def _emptied(url: str) -> None:
    """Forget the buckets, which all such servers of a process share."""
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=30):
        pass


def _faulty(
    environment: dict[str, str], name: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyPlace]:
    url = f"{bucket}/{uuid.uuid4().hex}"
    with fault_proxy(environment[name]) as proxy:
        through = {**environment, name: proxy.url}
        with _reached(through, monkeypatch):
            yield FaultyPlace(url, through, proxy, Place(url, environment))


@contextmanager
def _reached(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process reaches a server; no client from before is used again, and none of these later."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _forget_clients()
    try:
        yield
    finally:
        _forget_clients()


def _forget_clients() -> None:
    for module, client in (("s3fs", "S3FileSystem"), ("gcsfs", "GCSFileSystem")):
        if module in sys.modules:
            getattr(sys.modules[module], client).clear_instance_cache()


def _of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _run() -> int:
    """The process with which the run ends."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
