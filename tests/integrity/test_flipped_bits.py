"""A flipped bit that a checksum covers is refused by every verb that reads; what is not refused is the same weights."""

import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch import nn

import ckpt_core
from ckpt_core.cli.output.inspection import Wanted, gather
from ckpt_core.errors import CkptError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.selection import select
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.diff import diff
from ckpt_core.verbs.inspect import inspect
from ckpt_core.verbs.save import save
from ckpt_core.verbs.seal import seal

Weights = dict[str, torch.Tensor]


def _module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))


def _weights() -> Weights:
    return {name: tensor.clone() for name, tensor in _module().state_dict().items()}


def _torch(folder: Path) -> Path:
    torch.save(_weights(), folder / "model.pt")
    return folder / "model.pt"


def _shared(folder: Path) -> Path:
    """All tensors in one storage: one record, read in pieces."""
    flat = torch.cat([tensor.reshape(-1) for tensor in _weights().values()])
    at, found = 0, {}
    for name, tensor in _weights().items():
        found[name] = flat[at : at + tensor.numel()].view(tensor.shape)
        at += tensor.numel()
    torch.save(found, folder / "shared.pt")
    return folder / "shared.pt"


def _minillm(folder: Path) -> Path:
    torch.save(_weights(), folder / "full_sft_6.pth")
    return folder / "full_sft_6.pth"


def _lightning(folder: Path) -> Path:
    state = {"state_dict": _weights(), "pytorch-lightning_version": "2.6.6", "epoch": 1, "global_step": 7}
    torch.save({**state, "loops": {}, "optimizer_states": [], "lr_schedulers": []}, folder / "last.ckpt")
    return folder / "last.ckpt"


def _hf_bin(folder: Path) -> Path:
    (folder / "hf").mkdir()
    torch.save(_weights(), folder / "hf" / "pytorch_model.bin")
    (folder / "hf" / "config.json").write_text('{"model_type": "toy"}\n')
    return folder / "hf"


def _dcp(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": _weights()}, checkpoint_id=folder / "dcp", no_dist=True)
    return folder / "dcp"


def _sealed(made: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        place = made(folder)
        seal(str(place))
        return place

    return make


def _safetensors(folder: Path) -> Path:
    save_file(_weights(), folder / "model.safetensors")
    return folder / "model.safetensors"


def _hf(folder: Path) -> Path:
    (folder / "hf").mkdir()
    save_file(_weights(), folder / "hf" / "model.safetensors", metadata={"format": "pt"})
    (folder / "hf" / "config.json").write_text('{"model_type": "toy"}\n')
    return folder / "hf"


def _legacy(folder: Path) -> Path:
    torch.save(_weights(), folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder / "old.pth"


FORMATS: dict[str, Callable[[Path], Path]] = {
    "torch zip": _torch,
    "torch zip, one storage": _shared,
    "minillm": _minillm,
    "lightning": _lightning,
    "hf with bin": _hf_bin,
    "dcp": _dcp,
    "sealed torch zip": _sealed(_torch),
    "sealed safetensors": _sealed(_safetensors),
    "sealed hf": _sealed(_hf),
    "sealed legacy": _sealed(_legacy),
    "sealed dcp": _sealed(_dcp),
}

WITHOUT_CHECKSUMS = {"dcp": ".metadata", "hf with bin": "config.json"}
"""The one file of a format that nothing covers; sealed, it is covered too."""


def _convert(place: Path, out: Path, good: Path) -> Weights:
    convert(str(place), str(out / "o.safetensors"), components=["model"])
    return load_file(out / "o.safetensors")


def _save(place: Path, out: Path, good: Path) -> Weights:
    save(select(ckpt_core.load(str(place)), components=["model"]), str(out / "o.pt"))
    return torch.load(out / "o.pt", weights_only=True)


def _load_into(place: Path, out: Path, good: Path) -> Weights:
    module = _module(seed=1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    try:
        ckpt_core.load_into(module, str(place), atomic=True)
    except CkptError:
        assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
        raise
    return dict(module.state_dict())


def _to_torch(place: Path, out: Path, good: Path) -> Weights:
    return ckpt_core.load(str(place)).to_torch("model")


def _mapped(place: Path, out: Path, good: Path) -> Weights:
    found = ckpt_core.load(str(place)).to_torch("model", mapped=True, checked=True)
    return {name: tensor.clone() for name, tensor in found.items()}


def _read(place: Path, out: Path, good: Path) -> Weights:
    found = ckpt_core.load(str(place))
    table = found.component("model").tensors
    return {
        name: torch.from_numpy(np.frombuffer(found.read("model", name), dtype="f4").copy()).view(table[name].shape)
        for name in table
    }


def _diff(place: Path, out: Path, good: Path) -> Weights:
    report = diff(str(good), str(place), component="model")
    return _weights() if report.identical else {}


def _inspect(place: Path, out: Path, good: Path) -> Weights:
    def of(path: Path) -> object:
        contents = gather(inspect(str(path)), Wanted("model", (), True, True, True), None)
        return contents.statistics, {name: found.tensors for name, found in contents.fingerprints.items()}

    return _weights() if of(place) == of(good) else {}


class _Mending:
    """A plugin that misses a file in every directory, and can write it."""

    @ckpt_core.hookimpl
    def verify(self, files: ckpt_core.Files) -> Iterator[ckpt_core.Finding]:
        if files.location.kind is ckpt_core.LocationKind.DIRECTORY and "mended" not in files.entries:
            yield ckpt_core.Finding("CK007", ckpt_core.Severity.ERROR, "no mended", "mended")

    @ckpt_core.hookimpl
    def repair(self, files: ckpt_core.Files) -> Iterator[ckpt_core.RepairAction]:
        if files.location.kind is ckpt_core.LocationKind.DIRECTORY and "mended" not in files.entries:
            yield ckpt_core.RepairAction("write it", ckpt_core.Operation.WRITE, "mended", b"1")


@cache
def _mending() -> CkptPluginManager:
    manager = CkptPluginManager()
    manager.load_builtin()
    manager.load_installed()
    manager.register(_Mending(), name="mending")
    return manager


def _repair(place: Path, out: Path, good: Path) -> Weights:
    assert ckpt_core.repair(str(place), output=str(out / "o"), manager=_mending()).applied
    try:
        return ckpt_core.load(str(out / "o")).to_torch("model")
    except CkptError:  # what does not open is copied as the report says it: no verb passes that on
        shutil.rmtree(out / "o")
        raise


VERBS = {
    "repair": _repair,
    "convert": _convert,
    "save": _save,
    "load_into": _load_into,
    "to_torch": _to_torch,
    "mapped and checked": _mapped,
    "read": _read,
    "diff": _diff,
    "inspect": _inspect,
}


DIRECTORIES = ("hf with bin", "dcp", "sealed hf", "sealed dcp")
"""The formats of which a repair makes a copy: of a single file nothing but its seal is mended."""

TABLE = [(name, verb) for name in FORMATS for verb in VERBS if verb != "repair" or name in DIRECTORIES]


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if path.is_file())
    return [place, *place.parent.glob(f"{place.name}.ckpt.json")]


def _flips(place: Path, uncovered: str | None) -> Iterator[tuple[Path, int]]:
    for path in _files(place):
        if path.name != uncovered:
            yield from ((path, at) for at in range(3, path.stat().st_size, 10))


def _passed_on(name: str, verb: str, folder: Path, most: int | None = None) -> tuple[int, list[str]]:
    """How many flips were tried, and those of which neither an error nor the same weights came."""
    (folder / "good").mkdir()
    (folder / "bad").mkdir()
    good = FORMATS[name](folder / "good")
    wrong, tried, wanted = [], 0, _weights()
    flips = list(_flips(good, WITHOUT_CHECKSUMS.get(name)))
    if most is not None:  # others for every verb
        flips = random.Random(f"{name} {verb}").sample(flips, most)
    for path, at in flips:
        tried += 1
        shutil.rmtree(folder / "bad")
        shutil.copytree(folder / "good", folder / "bad")
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out").mkdir()
        target = folder / "bad" / path.relative_to(folder / "good")
        data = bytearray(target.read_bytes())
        data[at] ^= 1 << (at // 10 % 8)
        target.write_bytes(data)
        try:
            found = VERBS[verb](folder / "bad" / good.name, folder / "out", good)
        except CkptError:
            assert not list((folder / "out").iterdir())
            continue
        if found.keys() != wanted.keys() or not all(torch.equal(found[name], wanted[name]) for name in wanted):
            wrong.append(f"{path.name} byte {at}")
    return tried, wrong


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_damaged_is_passed_by_every_verb(name: str, tmp_path: Path) -> None:
    place = FORMATS[name](tmp_path)
    for verb in (verb for known, verb in TABLE if known == name):
        out = tmp_path / "out" / verb
        out.mkdir(parents=True)
        found = VERBS[verb](place, out, place)
        assert all(torch.equal(found[key], tensor) for key, tensor in _weights().items()), verb


@pytest.mark.parametrize("name, verb", TABLE)
def test_some_flipped_bits_are_refused_or_harmless(name: str, verb: str, tmp_path: Path) -> None:
    tried, wrong = _passed_on(name, verb, tmp_path, 4)
    assert tried == 4 and not wrong


def test_names_that_a_flipped_bit_made_are_not_compared(tmp_path: Path) -> None:
    """No tensor is read where all names differ: what says so is proved nevertheless."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    good, bad = FORMATS["sealed dcp"](tmp_path / "good"), FORMATS["sealed dcp"](tmp_path / "bad")
    data = bytearray((bad / ".metadata").read_bytes())
    data[data.index(b"planner_data")] ^= 1
    (bad / ".metadata").write_bytes(data)
    with pytest.raises(CkptError) as refused:
        diff(str(good), str(bad), component="model")
    assert refused.value.exit_code == 4


@pytest.mark.long
@pytest.mark.parametrize("name, verb", TABLE)
def test_a_flipped_bit_in_every_tenth_byte_is_refused_or_harmless(name: str, verb: str, tmp_path: Path) -> None:
    tried, wrong = _passed_on(name, verb, tmp_path)
    assert tried > 30 and not wrong
