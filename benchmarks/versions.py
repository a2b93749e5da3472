"""A store of versions: bytes written for the next step, opening and reading a version, and listing many.

The model is 1,000 tensors of 256 KiB (`CKPT_BENCH_TENSORS` has another number) on a disk, written by the safetensors
library and sealed. Step N+1 has new values in every twentieth tensor. Opening and reading are compared with the same
model as one file, methods in turn, the least of several rounds: opening by the processor's time, since it is some
milliseconds, reading by the clock. The log is of 1,000 versions of 1,000 tensors, whose records are copies of one.

    python -m benchmarks.versions
"""

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

import ckpt_core
from ckpt_core.storage.versions.names import record_key
from ckpt_core.storage.versions.opening import open_version_store
from ckpt_core.storage.versions.record import parse_record

TENSORS = int(os.environ.get("CKPT_BENCH_TENSORS", "1000"))
ELEMENTS = 1 << 17
CHANGED = 20
VERSIONS = 1000
ROUNDS = 15
GOALS = {"written": 1.05, "open": 1.2, "read": 1.1, "log": 1.0}


def model(seed: int) -> dict[str, torch.Tensor]:
    """Return tensors of BF16, as a fine-tune has them."""
    made = torch.Generator().manual_seed(seed)
    names = (f"model.layers.{number // 10}.block.{number % 10}.weight" for number in range(TENSORS))
    return {name: torch.randn(ELEMENTS, generator=made).bfloat16() for name in names}


def stored(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """Write and seal a model."""
    save_file(tensors, path)
    ckpt_core.seal(path)
    return path


def least(*works: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Return the least seconds of each work by a clock, done in turn.

    The garbage collector would run in always the same one of them.
    """
    found: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for seconds, work in zip(found, works, strict=True):
            gc.collect()
            gc.disable()
            begin = clock()
            work()
            seconds.append(clock() - begin)
            gc.enable()
    return [min(seconds) for seconds in found]


def written(folder: Path) -> float:
    """Publish two steps; return what the second wrote over what changed."""
    tensors = model(0)
    first, store = saved(folder / "0.safetensors", tensors), folder / "versions"
    begin = time.perf_counter()
    ckpt_core.publish(first, store)
    nbytes = first.stat().st_size
    print(f"first step: {nbytes / 1e6:.0f} MB in {time.perf_counter() - begin:.2f} s")
    changed = list(tensors)[::CHANGED]
    tensors |= {name: tensors[name] + 1 for name in changed}
    second, before = saved(folder / "1.safetensors", tensors), stored(store)
    begin = time.perf_counter()
    ckpt_core.publish(second, store)
    print(f"next step, {len(changed)} tensors changed: {time.perf_counter() - begin:.2f} s")
    return (stored(store) - before) / (len(changed) * ELEMENTS * 2)


def log_seconds(folder: Path) -> float:
    """Return the least seconds to list many versions."""
    place, key = open_version_store(str(folder / "versions")), record_key(1)
    record = parse_record(place.store.read(key), key)
    many = folder / "many"
    shutil.copytree(folder / "versions", many, ignore=shutil.ignore_patterns("objects"))
    for number in range(2, VERSIONS):
        text = record.encoded().replace(b'"number":1,', b'"number":%d,' % number)
        (many / record_key(number)).write_bytes(text)
    assert len(ckpt_core.list_versions(many).versions) == VERSIONS
    return least(lambda: ckpt_core.list_versions(many))[0]


def dedupe(folder: Path) -> dict[str, float]:
    """Train three kinds of run for five saves each; return what their stores take over what the saves are."""
    found = {}
    for kind in ("full fine-tune", "frozen backbone", "LoRA"):
        torch.manual_seed(0)
        layers = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(20)))
        low = torch.nn.ParameterList(torch.randn(256, 8) for _ in range(20) for _ in "ab") if kind == "LoRA" else None
        layers.requires_grad_(kind == "full fine-tune")
        layers[-1].requires_grad_(kind != "LoRA")
        trained = [one for one in (*layers.parameters(), *(low or ())) if one.requires_grad]
        optimizer, store = torch.optim.AdamW(trained), folder / kind
        for step in range(1, 6):
            for one in trained:
                one.grad = torch.randn_like(one)
            optimizer.step()
            parts = {"model": layers.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            parts |= {"adapter": low.state_dict()} if low is not None else {}
            ckpt_core.save(parts, folder / f"{kind}-{step}", format="bundle")
            ckpt_core.publish(folder / f"{kind}-{step}", store)
        versions = ckpt_core.list_versions(store).versions
        found[kind] = stored(store) / sum(one.size for one in versions)
    return found


def main() -> None:
    """Print each figure with its goal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {"written": written(folder)}
        file, version = str(folder / "1.safetensors"), f"{folder}/versions@v1"
        plain, own = least(lambda: ckpt_core.load(file), lambda: ckpt_core.load(version), clock=time.process_time)
        print(f"open: file {plain * 1e3:.2f} ms, version {own * 1e3:.2f} ms")
        found["open"] = own / plain
        plain, own = least(lambda: ckpt_core.load(file).to_torch(), lambda: ckpt_core.load(version).to_torch())
        print(f"read: file {plain:.3f} s, version {own:.3f} s")
        found["read"] = own / plain
        found["log"] = log_seconds(folder)
        for kind, share in dedupe(folder).items():
            print(f"five saves of a {kind}, model and AdamW: {share:.2f} of their bytes are stored")
    for what, value in found.items():
        print(f"{what}: {value:.3f} (at most {GOALS[what]})")


if __name__ == "__main__":
    main()
