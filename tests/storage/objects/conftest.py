"""A store of each kind to write to: memory, SeaweedFS, moto, a GCS server, a mount whose names are given once."""

import uuid
from collections.abc import Iterator

import pytest

from ckpt_core.storage.objects.open_store import open_store

SERVERS = {"seaweedfs": "s3", "gcs": "gcs"}


@pytest.fixture(scope="session")
def moto_environment() -> Iterator[dict[str, str]]:
    """The environment of an S3 server in this process."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testkey",
        "AWS_SECRET_ACCESS_KEY": "testsecret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server.stop()


@pytest.fixture(params=["memory", "seaweedfs", "moto", "mount", "gcs"])
def kind(request):
    return request.param


@pytest.fixture
def url(kind, request, monkeypatch):
    """A folder of this test's own in a store of each kind."""
    if kind == "mount":
        from tests.servers.bucket_mount import bucket_mount

        tmp = request.getfixturevalue("tmp_path")
        with bucket_mount(tmp / "mount", tmp / "kept") as mount:
            yield f"{mount}/run"
        return
    if kind == "memory":
        yield f"memory://{uuid.uuid4().hex}"
        return
    if kind in SERVERS:
        yield request.getfixturevalue(SERVERS[kind]).url
        return
    for name, value in request.getfixturevalue("moto_environment").items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    client = s3fs.S3FileSystem()
    if not client.exists("ckpt"):
        client.mkdir("ckpt")
    yield f"s3://ckpt/{uuid.uuid4().hex}"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def another(url):
    """Opens the store anew, as another process would."""
    return lambda: _opened(url)[0]


@pytest.fixture
def store(url):
    return _opened(url)[0]


@pytest.fixture
def prefix(url):
    return _opened(url)[1]


def _opened(url):
    if "://" in url:
        return open_store(url)
    from ckpt_core.storage.writing.mounts.mount_store import MountStore

    folder, _, name = url.rpartition("/")
    return MountStore(folder), name
