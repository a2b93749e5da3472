"""Saves and conversions to be stopped: each in a folder of its own, with what may be there before and after."""

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ckpt_core
from ckpt_core import knobs
from ckpt_core.reading.digests import fingerprint
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.writing import journal
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save

SLAB = 512
LARGEST = 40 * 8 * 4
"""Bytes of the largest tensor of a source."""

TENSORS = 4 * LARGEST + 3 * 8
"""Bytes of all of them."""


def weights(seed: int, rows: int = 40) -> dict[str, Any]:
    """A few small tensors, one of them of several slabs."""
    draw = np.random.default_rng(seed)
    names = ("embed.weight", "layers.0.weight", "layers.1.weight", "head.weight")
    made = {name: draw.standard_normal((rows, 8)).astype("f4") for name in names}
    return {**made, "steps": np.arange(3) + seed}


@dataclass(frozen=True)
class Scenario:
    """A way of writing.

    Attributes:
        title: For people.
        place: Name of the destination in its folder.
        before: Makes what is there before, in a folder; None where there is nothing.
        write: Writes to the destination: given the source folder, the destination, and `force`.
        names: What lies in the folder when all is well.
    """

    title: str
    place: str
    before: Callable[[str], Any] | None
    write: Callable[[Path, str, bool], Any]
    names: frozenset[str]

    def lay_out(self, folder: Path) -> tuple[Path, Path]:
        """A folder of sources, and one with what was there before."""
        sources, out = folder / "sources", folder / "out"
        sources.mkdir(parents=True)
        out.mkdir()
        save(weights(2), str(sources / "model.safetensors"))
        if self.before is not None:
            self.before(str(out / self.place))
        return sources, out

    def run(self, sources: Path, out: Path) -> None:
        place = str(out / self.place)
        # One worker, so that a run makes the same calls as the one before; a journal of single tensors.
        journal._SYNC_AFTER = 1
        with knobs.override(workers=1, slab_bytes=SLAB):
            self.write(sources, place, self.before is not None or os.path.lexists(place))


def _save(**how: Any) -> Callable[[Path, str, bool], Any]:
    return lambda sources, place, force: save(weights(2), place, force=force, **how)


def _convert(**how: Any) -> Callable[[Path, str, bool], Any]:
    return lambda sources, place, force: convert(str(sources / "model.safetensors"), place, force=force, **how)


def _by_torch(sources: Path, place: str, force: bool) -> None:
    """Save with torch's own call, which replaces nothing."""
    import torch
    import torch.distributed.checkpoint as dcp
    from ckpt_fsdp import CkptStorageWriter
    from torch.distributed.checkpoint.api import CheckpointException

    if force:
        ckpt_core.clean(os.path.dirname(place), apply=True)
        return
    model = {name: torch.from_numpy(array) for name, array in weights(2).items()}
    writer = CkptStorageWriter(place)
    try:
        with warnings.catch_warnings(action="ignore"):  # that there is one process
            dcp.save({"model": model, "step": 3}, storage_writer=writer)
    except CheckpointException as error:
        writer.close()
        raise error.failures[0][0] from None


SHARDS = {"max_shard_size": "2KB"}
RANKS = {"ranks": "2"}
FILE = frozenset({"m.safetensors", "m.safetensors.ckpt.json"})
TORCH = frozenset({"m.pth", "m.pth.ckpt.json"})

SCENARIOS = (
    Scenario("save of a file", "m.safetensors", None, _save(), FILE),
    Scenario("forced replace of a file", "m.safetensors", lambda at: save(weights(1, 9), at), _save(), FILE),
    Scenario("forced replace of a torch file", "m.pth", lambda at: save(weights(1, 9), at), _save(), TORCH),
    Scenario("save of a directory", "d", None, _save(format="hf", options=SHARDS), frozenset({"d"})),
    Scenario(
        "forced replace of a directory",
        "d",
        lambda at: save(weights(1), at, format="hf", options=SHARDS),
        _save(format="hf", options=SHARDS),
        frozenset({"d"}),
    ),
    Scenario("conversion to a file", "m.pth", None, _convert(to="torch", dtypes=("bf16",)), TORCH),
    Scenario("conversion to a directory", "d", None, _convert(to="hf", options=SHARDS), frozenset({"d"})),
    Scenario("conversion to dcp", "d", None, _convert(to="dcp", options=RANKS, dtypes=("bf16",)), frozenset({"d"})),
)

BY_TORCH = Scenario("save by torch", "d", None, _by_torch, frozenset({"d"}))


def digest_at(place: Path) -> str | None:
    """The fingerprint of the complete checkpoint at a place; None where there is nothing. Anything else is broken."""
    if not os.path.lexists(place):
        return None
    report = ckpt_core.verify(str(place), depth=Depth.BYTES).report
    loud = [finding for finding in report.findings if finding.severity > ckpt_core.Severity.INFO]
    assert not loud, loud
    return fingerprint(ckpt_core.load(str(place)), "model").digest


def members(out: Path) -> set[str]:
    """What in a folder is taken for a checkpoint: the first part of each member's path."""
    files = ckpt_core.list_files(str(out))
    detection = ckpt_core.get_plugin_manager().hooks.detect_format(files=files)
    return {match.root.partition("/")[0] for match in detection.matches if match.root}


def contents(out: Path) -> dict[str, bytes]:
    """Every file below a folder but the seals, which record when and whence."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.endswith((".ckpt.json", "ckpt.manifest.json"))
    }


def fresh_copy(before: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """The same layout elsewhere; the sources are shared, since nothing writes to them."""
    sources, out = before
    copied = folder / "out"
    shutil.copytree(out, copied)
    return sources, copied
