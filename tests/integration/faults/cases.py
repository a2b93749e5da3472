"""Faults that checkpoints have in practice, each made in a copy of whole ones that the tools themselves wrote."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.faults.sources import NAMES

Break = Callable[[Path], Path | None]
"""Breaks a checkpoint in place; the path it has then, None where that stays."""

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 30464\n" % (b"4f" * 32)


@dataclass(frozen=True)
class Fault:
    """What is wrong, and how it is made of each kind of checkpoint that can have it.

    Attributes:
        title: For people.
        breaks: By kind: trainer, sharded, torch, dcp.
        within: What it is in: a file of `weights`, the `model` that its files make up, or the `state` beside it.
        harmless: Kinds whose loaders get the right tensors all the same: to be silent is no harm there.
    """

    title: str
    breaks: Mapping[str, Break]
    within: str = "weights"
    harmless: frozenset[str] = field(default_factory=frozenset)


def lay_out(fault: Fault, sources: Path, folder: Path) -> dict[str, Path]:
    """Copies of the whole checkpoints with the fault in them, by kind."""
    made = {}
    for kind, how in fault.breaks.items():
        source, place = sources / NAMES[kind], folder / kind / NAMES[kind]
        place.parent.mkdir(parents=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place)
        made[kind] = how(place) or place
    return made


def marker_of(folder: Path) -> Path:
    """What a payload below a folder makes when it runs."""
    return folder / "EXECUTED"


def _weights(place: Path) -> Path:
    """The file of a checkpoint that holds its weights, or the first of them."""
    if place.is_file():
        return place
    found = sorted([*place.glob("*.safetensors"), *place.glob("*.distcp")])
    return found[0]


def _edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _cut(place: Path) -> None:
    """The file ends where a tensor, or a record, does."""
    path = _weights(place)
    _edit(path, lambda data: data[: _boundary(path, data)])


def _boundary(path: Path, data: bytes) -> int:
    if path.suffix == ".safetensors":
        header = struct.unpack("<Q", data[:8])[0]
        ends = [entry["data_offsets"][1] for name, entry in json.loads(data[8 : 8 + header]).items() if name[0] != "_"]
        return 8 + header + sorted(ends)[len(ends) // 2]
    return data.rindex(b"PK\x03\x04")


def _flip(place: Path) -> None:
    """One bit of one value: the lowest of a float's mantissa."""
    path = _weights(place)
    data = bytearray(path.read_bytes())
    data[_value_at(path, bytes(data))] ^= 1
    path.write_bytes(data)


def _value_at(path: Path, data: bytes) -> int:
    """Where a float of the weights begins."""
    if path.suffix == ".safetensors":
        return 8 + int(struct.unpack("<Q", data[:8])[0]) + 64
    return data.index(b"Z" * 8, data.index(b"data/0")) // 64 * 64 + 128


def _seal_then(how: Break) -> Break:
    def sealed(place: Path) -> Path | None:
        from ckpt_core.verbs.seal import seal

        seal(str(place))
        return how(place)

    return sealed


def _empty(place: Path) -> None:
    _weights(place).write_bytes(b"")


def _lfs(place: Path) -> None:
    _weights(place).write_bytes(POINTER)


def _nan(place: Path) -> None:
    """One value of the weights is NaN, with every checksum right: it was saved so."""
    import torch

    if place.suffix == ".pt":
        state = torch.load(place)
        next(iter(state["model"].values())).view(-1)[0] = float("nan")
        torch.save(state, place)
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(_weights(place))
        next(iter(tensors.values())).view(-1)[0] = float("nan")
        save_file(tensors, _weights(place), metadata={"format": "pt"})


def _nan_dcp(place: Path) -> None:
    import torch.distributed.checkpoint as dcp

    from tests.integration.resume.killed_saves import state

    broken = state(2)
    next(iter(broken["model"].values())).view(-1)[0] = float("nan")
    shutil.rmtree(place)
    dcp.save(broken, checkpoint_id=place, no_dist=True)


def _swap(place: Path) -> None:
    first, second, *_ = sorted(place.glob("*.safetensors"))
    aside = place / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def _other_save(place: Path) -> None:
    """A shard as another step had it: every name and shape is right."""
    from safetensors.torch import load_file, save_file

    path = _weights(place)
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def _lose(pattern: str) -> Break:
    def lose(place: Path) -> None:
        sorted(place.glob(pattern))[-1].unlink()

    return lose


def _stale_index(place: Path) -> None:
    """The index of the base model came along: it names shards that the save did not write."""
    index = {"metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))


def _without_optimizer(place: Path) -> None:
    import torch

    state = torch.load(place)
    del state["optimizer"]
    torch.save(state, place)


def _without_optimizer_dcp(place: Path) -> None:
    import torch.distributed.checkpoint as dcp

    from tests.integration.resume.killed_saves import state

    shutil.rmtree(place)
    dcp.save({key: value for key, value in state(2).items() if key != "optimizer"}, checkpoint_id=place, no_dist=True)


def _ranks_with_a_gap(place: Path) -> None:
    state = place / "rng_state.pth"
    for rank in (0, 2):
        shutil.copy(state, place / f"rng_state_{rank}.pth")
    state.unlink()


def _half_written(place: Path) -> None:
    for name in ("trainer_state.json", "rng_state.pth", "scheduler.pt"):
        (place / name).unlink()
    _edit(place / "optimizer.pt", lambda data: data[: len(data) // 2])


class _Payload:
    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({self._marker!r}, 'w').close()",)


def _hostile(name: str) -> Break:
    def plant(place: Path) -> None:
        import pickle

        import torch

        path, payload = (place / name if name else place), _Payload(marker_of(place.parent))
        if path.suffix in (".pt", ".bin"):
            torch.save({"state": payload}, path)
        else:
            path.write_bytes(pickle.dumps(payload))

    return plant


def _rename(name: str) -> Break:
    return lambda place: Path(shutil.move(place, place.with_name(name)))


def _each(how: Break, *kinds: str) -> dict[str, Break]:
    return dict.fromkeys(kinds, how)


WHOLE = Fault("nothing", _each(lambda place: None, "trainer", "sharded", "torch", "dcp"))
FAULTS = (
    Fault("weights cut at a boundary", _each(_cut, "trainer", "torch", "dcp")),
    Fault("a flipped bit in the weights", _each(_flip, "torch", "dcp") | {"trainer": _seal_then(_flip)}),
    Fault("weights of zero bytes", _each(_empty, "trainer", "torch", "dcp")),
    Fault("two shards swapped", _each(_swap, "sharded"), harmless=frozenset({"sharded"})),
    Fault("a shard of another save", {"sharded": _seal_then(_other_save)}),
    Fault("a shard missing", {"sharded": _lose("*.safetensors"), "dcp": _lose("*.distcp")}, "model"),
    Fault("a stale index", _each(_stale_index, "trainer"), "model", frozenset({"trainer"})),
    Fault(
        "the optimizer missing",
        {"trainer": _lose("optimizer.pt"), "torch": _without_optimizer, "dcp": _without_optimizer_dcp},
        "state",
    ),
    Fault("the random state of a rank missing", _each(_ranks_with_a_gap, "trainer"), "state"),
    Fault("a directory half written", {"trainer": _half_written, "dcp": _lose(".metadata")}, "state"),
    Fault("NaN in the weights", _each(_nan, "trainer", "torch") | {"dcp": _nan_dcp}),
    Fault(
        "a pickle that runs code",
        {"trainer": _hostile("optimizer.pt"), "torch": _hostile(""), "dcp": _hostile(".metadata")},
        "state",
    ),
    Fault("a git-lfs pointer for weights", _each(_lfs, "trainer", "torch", "dcp")),
    Fault("a wrong step in the name", {"trainer": _rename("checkpoint-20")}, "state"),
)
