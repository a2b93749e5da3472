"""Damage in a base, in a part of a joined checkpoint, and in what an interrupted conversion had read, is refused."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

import ckpt_core
from ckpt_core.cli.main import main
from ckpt_core.errors import CkptError, CorruptError
from ckpt_core.storage.writing import syscalls
from ckpt_core.verbs.convert import convert


def _weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 3)).state_dict()


def _bin(place: Path, seed: int = 0) -> Path:
    place.mkdir()
    torch.save(_weights(seed), place / "pytorch_model.bin")
    (place / "config.json").write_text('{"model_type": "toy"}\n')
    return place


def _flip(place: Path, label: str, name: str) -> None:
    """Change the first byte of a tensor, wherever it lies."""
    checkpoint = ckpt_core.load(str(place))
    checkpoint.confirm()
    chunk = checkpoint.find_chunk(checkpoint.component(label).tensors[name].chunks[0])
    assert chunk.stored is not None
    path = place / chunk.stored.path if place.is_dir() else place
    data = bytearray(path.read_bytes())
    data[chunk.stored.offset] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", ["source", "base"])
def test_a_conversion_onto_a_base_refuses_damage_in_either(tmp_path: Path, damaged: str) -> None:
    base = _bin(tmp_path / "base")
    torch.save(_weights(1), tmp_path / "source.pt")
    del (lacking := _weights(1))["1.bias"]
    torch.save(lacking, tmp_path / "source.pt")
    out = tmp_path / "out"
    how = ["--base", str(base), "--to", "hf", "--optional", "1.bias", "--models", "main"]
    assert main(["convert", str(tmp_path / "source.pt"), str(tmp_path / "good"), *how]) == 0
    _flip(*((base, "model", "1.bias") if damaged == "base" else (tmp_path / "source.pt", "model", "0.weight")))
    assert main(["convert", str(tmp_path / "source.pt"), str(out), *how]) == 4
    assert not out.exists()
    assert main(["convert", str(tmp_path / "source.pt"), str(out), *how, "--accept-damage"]) == 0
    tainted = json.loads((out / "ckpt.tainted.json").read_text())
    assert tainted == {f"model/{'1.bias' if damaged == 'base' else '0.weight'}": "damaged"}


def test_what_a_base_has_beside_what_is_taken_of_it_may_be_damaged(tmp_path: Path) -> None:
    base = _bin(tmp_path / "base")
    torch.save(_weights(1), tmp_path / "source.pt")
    _flip(base, "model", "0.weight")
    how = ["--base", str(base), "--to", "hf", "--models", "main"]
    assert main(["convert", str(tmp_path / "source.pt"), str(tmp_path / "out"), *how]) == 0


def _trainer(folder: Path) -> tuple[Path, str, str]:
    """A Trainer's directory under FSDP, with its sharded optimizer."""
    place = _bin(folder / "checkpoint-7")
    (place / "trainer_state.json").write_text('{"global_step": 7, "epoch": 1.0, "log_history": []}')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {"state": {"0.weight": {"exp_avg": torch.randn(50, 40)}}, "param_groups": []}
        dcp.save({"optimizer": state}, checkpoint_id=place / "optimizer_0", no_dist=True)
    found = ckpt_core.load(str(place)).component("optimizer")
    return place, "optimizer", next(iter(found.tensors))


def _pipeline(folder: Path) -> tuple[Path, str, str]:
    place = folder / "pipeline"
    place.mkdir()
    index = {"_class_name": "ToyPipeline", "unet": ["diffusers", "UNet"], "vae": ["diffusers", "VAE"]}
    (place / "model_index.json").write_text(json.dumps(index))
    for name in ("unet", "vae"):
        (place / name).mkdir()
        torch.save(_weights(), place / name / "diffusion_pytorch_model.bin")
        (place / name / "config.json").write_text(json.dumps({"_class_name": name}))
    labels = [one.label for one in ckpt_core.load(str(place)).manifest.components if "vae" in one.label]
    return place, labels[0], "1.weight"


@pytest.mark.parametrize("made", [_trainer, _pipeline])
def test_damage_in_a_part_is_refused_as_that_of_the_whole_is(
    tmp_path: Path, made: Callable[[Path], tuple[Path, str, str]]
) -> None:
    place, label, name = made(tmp_path)
    good = ckpt_core.load(str(place)).read(label, name)
    assert len(good)
    _flip(place, label, name)
    with pytest.raises(CorruptError):
        ckpt_core.load(str(place)).read(label, name)
    assert main(["convert", str(place), str(tmp_path / "o.pt"), "--component", label]) == 4
    assert not (tmp_path / "o.pt").exists()
    done = convert(str(place), str(tmp_path / "o.pt"), components=[label], accept_damage=True)
    assert done.report is not None and list(done.report.tainted) == [f"{label}/{name}"]


def test_a_conversion_that_goes_on_proves_what_it_had_read_before_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One storage for all: its checksum is known only once the last of it is read."""
    flat, at, shared = torch.randn(3 << 20), 0, {}
    for number in range(12):
        shared[f"t{number}"] = flat[at : at + (1 << 18)]
        at += 1 << 18
    torch.save(shared, tmp_path / "shared.pt")
    _flip(tmp_path / "shared.pt", "model", "t0")
    out = tmp_path / "out.safetensors"
    monkeypatch.setenv("CKPT_WORKERS", "1")
    original, written = syscalls.write_at, [0]

    def full(descriptor: int, data: memoryview, offset: int, path: str) -> None:
        written[0] += len(data)
        if written[0] > 5 << 20:
            raise KeyboardInterrupt
        original(descriptor, data, offset, path)

    with monkeypatch.context() as stopped, pytest.raises((KeyboardInterrupt, CkptError)):
        stopped.setattr(syscalls, "write_at", full)
        convert(str(tmp_path / "shared.pt"), str(out))
    for _ in range(2):
        with pytest.raises(CorruptError, match=r"shared\.pt"):
            convert(str(tmp_path / "shared.pt"), str(out))
        assert not out.exists()


@pytest.mark.parametrize("name", [b"/data.pkl", b"/data/0", b"/version"])
def test_an_item_whose_directory_is_damaged_is_damage_and_leaves_no_stage(tmp_path: Path, name: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": _weights()}, checkpoint_id=tmp_path / "d", no_dist=True)
    for path in (tmp_path / "d").glob("*.distcp"):
        path.write_bytes(path.read_bytes().replace(name, bytes([name[0], name[1] ^ 2]) + name[2:]))
    out = tmp_path / "out"
    out.mkdir()
    assert main(["convert", str(tmp_path / "d"), str(out / "o.safetensors")]) == 4
    assert list(out.iterdir()) == []
