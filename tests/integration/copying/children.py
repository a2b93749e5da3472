"""What a process that is to be killed does, with parts as small as they can be; see `tests.servers.nursery`."""

import numpy as np

import ckpt_core
from ckpt_core.storage.copying import to_disk
from ckpt_core.storage.objects import settling
from ckpt_core.verbs.moving import copy as copying

LEAST_PART = 5 << 20
"""Of any part but the last. Source: Amazon S3 user guide, "Amazon S3 multipart upload limits"."""


def copy(source: str, place: str, movers: int = 4, force: bool = False) -> None:
    settling._PART, copying._MOVERS = LEAST_PART, movers
    ckpt_core.copy(source, place, force=force)


def copy_to_disk(source: str, place: str) -> None:
    to_disk.PART = 1 << 20
    ckpt_core.copy(source, place)


def save(place: str) -> None:
    settling._PART = LEAST_PART
    ckpt_core.save(large(), place, format="safetensors")


def convert(source: str, place: str) -> None:
    settling._PART = LEAST_PART
    ckpt_core.convert(source, place, to="torch")


def large() -> dict[str, np.ndarray]:
    """Two parts."""
    return {"a": np.arange(800_000.0)}
