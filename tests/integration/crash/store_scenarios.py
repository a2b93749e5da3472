"""Ways of writing to a store, to be disturbed; as a program, a nursery of processes that do them and can be killed.

A process that has imported everything and talks to nobody yet forks one for each line that it is told: so a kill costs
no start of Python. A line is JSON: title, place and environment.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import ckpt_core
from ckpt_core.errors import CheckpointNotFoundError, CkptError, CorruptError
from ckpt_core.reading.digests import fingerprint


def weights(seed: int) -> dict[str, Any]:
    return {"w": np.full((40, 8), seed, "f4"), "v": np.arange(3) + seed}


def large(seed: int) -> dict[str, Any]:
    """Of two parts and a bit, in tensors that lie across their borders."""
    return {f"t{number}": np.full((3 << 18,), seed + number, "f4") for number in range(6)}


@dataclass(frozen=True)
class Scenario:
    """A way of writing.

    Attributes:
        title: For people.
        name: Of the destination in its folder.
        before: What is saved there first.
        force: Whether that is to be replaced.
        write: Writes, given the URL of the folder, that of the destination, and `force`.
    """

    title: str
    name: str
    write: Callable[[str, str, bool], Any]
    before: bool = False
    force: bool = False

    def lay_out(self, folder: str) -> None:
        ckpt_core.save(weights(2) if "large" not in self.title else large(2), f"{folder}/source.safetensors")
        if self.before:
            ckpt_core.save(weights(1), f"{folder}/{self.name}", format=_format(self.name))

    def run(self, folder: str) -> None:
        self.write(folder, f"{folder}/{self.name}", self.force)


def _format(name: str) -> str:
    return "hf" if "." not in name else "torch"


def _save(folder: str, url: str, force: bool) -> None:
    ckpt_core.save(weights(2), url, format=_format(url.rpartition("/")[2]), force=force)


def _convert(folder: str, url: str, force: bool) -> None:
    ckpt_core.convert(f"{folder}/source.safetensors", url, to=_format(url.rpartition("/")[2]), force=force)


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


def _nurse() -> None:
    for line in sys.stdin:
        told = json.loads(line)
        child = os.fork()
        if child:
            print(child, flush=True)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        os.environ.update(told["env"])
        (scenario,) = (one for one in SCENARIOS if one.title == told["title"])
        try:
            scenario.run(told["folder"])
        except CkptError as error:
            os._exit(error.exit_code)
        os._exit(0)


if __name__ == "__main__":
    import s3fs  # noqa: F401
    import torch  # noqa: F401

    ckpt_core.get_plugin_manager()
    _nurse()
