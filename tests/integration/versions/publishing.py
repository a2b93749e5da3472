"""Ways of writing to a store of versions, to be disturbed in this process or in one that can be killed."""

from pathlib import Path

import numpy as np

import ckpt_core
from ckpt_core.storage.versions.opening import open_version_store
from ckpt_core.training import Keep


def saved(folder: Path, number: int) -> Path:
    """Return a checkpoint: a tensor of its own, one that all share, and one that it shares with every other one."""
    path = folder / f"{number}.safetensors"
    tensors = {
        "own": np.full(300, number, "f4"),
        "shared": np.zeros(300, "f4"),
        "half": np.full(300, number % 2 + 9, "f4"),
    }
    if not path.exists():
        ckpt_core.save({"model": tensors}, path)
    return path


def lay_out(folder: Path, store: str) -> None:
    """Publish three versions, of which an alias stands for the first."""
    for number in range(3):
        ckpt_core.publish(saved(folder, number), store)
    ckpt_core.set_alias(store, "first", "v0")


def copied(source: str, target: str) -> None:
    """Lay out a store as another one is, by copies that the server makes."""
    there, here = open_version_store(source), open_version_store(target)
    for one in list(there.listed("")):
        here.store.copy(one.key, here.key(there.below(one.key)))


def publish(source: str, store: str) -> None:
    """Publish a version, and name it."""
    ckpt_core.publish(source, store, alias="mine")


def prune(_: str, store: str) -> None:
    """Free what neither is the newest nor has a name: v1."""
    ckpt_core.prune_versions(store, Keep(last=1), apply=True)


WORKS = {"publish": publish, "prune": prune}


def whole(store: str) -> list[str]:
    """Prove every version that is there; return their names, and check that aliases lead to some of them."""
    found = ckpt_core.list_versions(store)
    for record in found.versions:
        one = ckpt_core.load(f"{store}@{record.name}")
        own = float(np.frombuffer(one.read("model", "own"), "f4")[0])
        assert set(np.frombuffer(one.read("model", "half"), "f4")) == {own % 2 + 9}, record.name
        assert ckpt_core.verify(one, depth="bytes").report.ok, record.name
    names = [record.name for record in found.versions]
    assert {f"v{number}" for number in found.aliases.values()} <= set(names)
    report = ckpt_core.verify_versions(store)
    assert report.ok, report.findings
    return names


def check_after(work: str, folder: Path, store: str, *, well: bool) -> None:
    """Whatever a stop left: what was named is whole, the same again succeeds, and what is left over can be freed."""
    names = whole(store)
    assert {"v0", "v2"} <= set(names)
    if work == "publish":
        assert "v1" in names
        assert ("v3" in names) or not well
    again = ckpt_core.publish(saved(folder, 3), store, alias="mine")
    assert again.version.number == 3
    prune("", store)
    assert whole(store) == ["v0", "v3"]
    assert ckpt_core.prune_versions(store, Keep(last=1)).nbytes == 0, "nothing is left over"
