"""A real S3 server for tests: SeaweedFS's `weed`, on loopback and free ports. See `kept`."""

import sys
from pathlib import Path

from tests.servers import kept

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

_GRPC = 10_000
"""Each server opens a second port, this far above its own."""


def environment(folder: Path) -> dict[str, str]:
    """What an S3 client needs to know of the server whose ports are in a folder."""
    return {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{kept.ports_of(folder)['s3.port']}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def shared(folder: Path, watched: int) -> dict[str, str]:
    """The environment of the run's server, started where it is not running yet."""
    kept.shared("tests.servers.seaweedfs", folder, watched, lambda: _answers(folder))
    return environment(folder)


def _answers(folder: Path) -> bool:
    import s3fs

    try:
        client = s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=environment(folder)["AWS_ENDPOINT_URL_S3"],
            client_kwargs={"region_name": "us-east-1"},
            skip_instance_cache=True,
        )
        client.pipe_file(f"{BUCKET}/started", b"x")
        return True
    except OSError:
        return False  # not up yet
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore"):
            raise
        return False


def _keep() -> None:
    ports = kept.free_ports(_PORTS, beside=_GRPC)
    options = [f"-{name}={port}" for name, port in ports.items()] + [f"-{option}" for option in _OFF]
    weed = str(Path(sys.executable).with_name("weed"))
    kept.keep(
        ports,
        lambda data: [
            *(weed, "mini", f"-dir={data}", f"-bucket={BUCKET}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options)
        ],
        {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
    )


if __name__ == "__main__":
    _keep()
