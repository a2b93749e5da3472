"""What comparing every byte with its checksums costs a conversion: checked and unchecked in turn, in one process."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.load import OWN_CHECKS, Checks, open_checkpoint
from ckpt_core.verbs.seal import seal

_ROUNDS = 7


def main(tensors: int = 64, megabytes: int = 4) -> None:
    """Measure on so many tensors of so many MiB each, and as many of some KiB."""
    import torch

    torch.manual_seed(0)
    weights = {f"layers.{number}.w": torch.randn(megabytes << 8, 1 << 10) for number in range(tensors)}
    weights |= {f"layers.{number}.b": torch.randn(1 << 10) for number in range(tensors * 8)}
    with tempfile.TemporaryDirectory() as folder:
        for name, place in _sources(Path(folder), weights).items():
            checked, unchecked = _measure(place, Path(folder) / "out.safetensors")
            print(f"{name}: checked {checked:.3f} s, unchecked {unchecked:.3f} s, ratio {checked / unchecked:.3f}")


def _sources(folder: Path, weights: dict[str, object]) -> dict[str, Path]:
    import torch
    import torch.distributed.checkpoint as dcp
    from safetensors.torch import save_file

    torch.save(weights, folder / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": weights}, checkpoint_id=folder / "dcp", no_dist=True)
    save_file(weights, folder / "sealed.safetensors")
    seal(str(folder / "sealed.safetensors"))
    return {"torch zip": folder / "model.pt", "DCP": folder / "dcp", "sealed": folder / "sealed.safetensors"}


def _measure(place: Path, out: Path) -> tuple[float, float]:
    """The median seconds of each, the first round of both left out."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(_ROUNDS + 1):
        for reads in (True, False) if number % 2 else (False, True):
            source = open_checkpoint(str(place), checks=Checks() if reads else OWN_CHECKS)
            spent = _timed(lambda source=source: _convert(source, out))  # type: ignore[misc]
            if number:
                seconds[reads].append(spent)
    return statistics.median(seconds[True]), statistics.median(seconds[False])


def _convert(source: StoredCheckpoint, out: Path) -> None:
    convert(source, str(out), force=True)


def _timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
