"""Ways of writing to a store, to be disturbed by a test, in its own process or one that can be killed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import ckpt_core
from ckpt_core.errors import CheckpointNotFoundError, CorruptError
from ckpt_core.reading.digests import fingerprint
from ckpt_core.storage.objects import settling
from ckpt_core.storage.objects.open_store import open_store


def weights(seed: int) -> dict[str, Any]:
    return {"w": np.full((40, 8), seed, "f4"), "v": np.arange(3) + seed}


def large(seed: int) -> dict[str, Any]:
    """Of two parts of 5 MiB and a bit, in tensors that lie across their borders."""
    return {f"t{number}": np.full((7 << 16,), seed + number, "f4") for number in range(6)}


@dataclass(frozen=True)
class Scenario:
    """A way of writing.

    Attributes:
        title: For people.
        name: Of the destination in its folder.
        before: What is saved there first.
        force: Whether that is to be replaced.
        write: Writes, given the URL of the source, that of the destination, and `force`.
    """

    title: str
    name: str
    write: Callable[[str, str, bool], Any]
    before: bool = False
    force: bool = False

    def lay_out_source(self, url: str) -> None:
        """What conversions read: the same for every disturbance."""
        if self.write is _convert:
            ckpt_core.save(large(2) if "large" in self.title else weights(2), url)

    def lay_out(self, folder: str) -> None:
        """What is there before, and something of somebody else beside it."""
        store, root = open_store(folder)
        store.put(f"{root}/somebody's.bin", b"not ours")
        if self.before:
            ckpt_core.save(weights(1), f"{folder}/{self.name}", format=_format(self.name))

    def run(self, source: str, folder: str) -> None:
        settling._PART = 5 << 20  # the least that S3 takes
        self.write(source, f"{folder}/{self.name}", self.force)


def _format(name: str) -> str:
    return "hf" if "." not in name else "torch"


def _save(_: str, url: str, force: bool) -> None:
    ckpt_core.save(weights(2), url, format=_format(url.rpartition("/")[2]), force=force)


def _convert(source: str, url: str, force: bool) -> None:
    ckpt_core.convert(source, url, to=_format(url.rpartition("/")[2]), force=force)


SCENARIOS = (
    Scenario("a new directory saved", "d", _save),
    Scenario("a directory replaced", "d", _save, before=True, force=True),
    Scenario("a new file saved", "m.pth", _save),
    Scenario("a file replaced", "m.pth", _save, before=True, force=True),
    Scenario("a new directory converted", "d", _convert),
    Scenario("a file converted and replaced", "m.pth", _convert, before=True, force=True),
    Scenario("a large new directory converted", "d", _convert),
    Scenario("a large new file converted", "m.pth", _convert),
)


def run(title: str, source: str, folder: str) -> None:
    """Run the scenario of a title."""
    (scenario,) = (one for one in SCENARIOS if one.title == title)
    scenario.run(source, folder)


def state_of(url: str) -> str | None:
    """A digest of what is at a place, proved by its seal; None for nothing, or what says that it is not finished."""
    try:
        place = ckpt_core.load(url)
    except CheckpointNotFoundError:
        return None
    except CorruptError as error:
        if error.code == "WR001" or "holds no file" in error.message:  # this server remembers empty folders for a while
            return None
        raise
    report = ckpt_core.verify(url, depth=ckpt_core.Depth.BYTES).report
    assert report.ok, report.findings
    return fingerprint(place, "model").digest
