"""Damage is refused with file, tensor and block; accepted, it is marked in whatever comes of it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ckpt_core
from ckpt_core.cli.main import main
from ckpt_core.errors import CorruptError, LoadInterruptedError
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.diff import diff
from ckpt_core.verbs.seal import seal
from ckpt_core.verbs.verify import verify


def _module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 3))


def _flip(path: Path, name: str) -> None:
    place = ckpt_core.load(str(path)).component("model").tensors.info(name)
    data = bytearray(path.read_bytes())
    data[place.offset + 5] ^= 4
    path.write_bytes(data)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save(_module().state_dict(), path)
    _flip(path, "1.weight")
    return path


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    path = tmp_path / "sealed.safetensors"
    save_file(_module().state_dict(), path)
    seal(str(path))
    return path


def test_a_refused_conversion_names_file_and_tensor_and_leaves_nothing(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(damaged), str(tmp_path / "out.safetensors")]) == 4
    said = capsys.readouterr().err
    assert "model.pt: model/data/" in said and "(holds 1.weight)" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt"]


def test_a_refused_conversion_of_a_sealed_file_names_the_block(stale: Path, tmp_path: Path) -> None:
    _flip(stale, "1.weight")
    with pytest.raises(CorruptError, match=r"sealed.safetensors: block 0 .*is not what was sealed") as caught:
        convert(str(stale), str(tmp_path / "out.pt"))
    assert caught.value.code == "SL002" and not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("code, spoil", [("SL001", lambda data: data + b"x"), ("SL005", None)])
def test_a_seal_that_is_stale_or_unreadable_is_not_passed_over(stale: Path, tmp_path: Path, code: str, spoil) -> None:  # type: ignore[no-untyped-def]
    if spoil is None:
        (stale.parent / f"{stale.name}.ckpt.json").write_text("{}")
    else:
        torch.save(_module().state_dict(), stale.with_suffix(".pt"))
        stale = stale.with_suffix(".pt")
        seal(str(stale))
        torch.save({**_module().state_dict(), "more": torch.ones(1000)}, stale)
    with pytest.raises(CorruptError) as caught:
        convert(str(stale), str(tmp_path / "out.safetensors"))
    assert caught.value.code == code


def test_a_load_that_is_not_atomic_says_what_was_filled(damaged: Path) -> None:
    with pytest.raises(LoadInterruptedError, match="do not match") as caught:
        ckpt_core.load_into(_module(1), str(damaged))
    assert "1.weight" not in caught.value.filled


def test_what_is_said_to_be_filled_has_its_new_values_and_the_rest_is_told_apart(tmp_path: Path) -> None:
    source = {f"w{number:03}": torch.full((1 << 14,), float(number)) for number in range(200)}
    torch.save(source, tmp_path / "model.pt")
    _flip(tmp_path / "model.pt", "w199")
    module = torch.nn.Module()
    for name, tensor in source.items():
        module.register_parameter(name, torch.nn.Parameter(torch.full_like(tensor, -1.0)))
    with pytest.raises(LoadInterruptedError, match=r"of 200 tensors had been filled") as caught:
        ckpt_core.load_into(module, str(tmp_path / "model.pt"))
    filled = caught.value.filled
    assert 0 < len(filled) < 200 and "w199" not in filled and len(set(filled)) == len(filled)
    assert f"{len(filled)} of 200" in str(caught.value)
    assert all(torch.equal(module.get_parameter(name), source[name]) for name in filled)


def test_accepted_damage_is_marked_with_and_without_the_seal(damaged: Path, tmp_path: Path) -> None:
    done = convert(str(damaged), str(tmp_path / "out.safetensors"), accept_damage=True)
    assert done.report is not None and done.report.tainted == {"model/1.weight": "damaged"}
    assert load_file(tmp_path / "out.safetensors").keys() == _module().state_dict().keys()
    (tmp_path / "out.safetensors.ckpt.json").unlink()
    found = [
        finding for finding in verify(str(tmp_path / "out.safetensors")).report.findings if finding.code == "IN001"
    ]
    assert [finding.tensor for finding in found] == ["1.weight"]


def test_damage_to_a_header_taints_all_that_it_names(stale: Path, tmp_path: Path) -> None:
    data = stale.read_bytes().replace(b'"0.bias"', b'"0.BIAS"')
    stale.write_bytes(data)
    with pytest.raises(CorruptError):
        convert(str(stale), str(tmp_path / "out.pt"))
    done = convert(str(stale), str(tmp_path / "out.pt"), accept_damage=True)
    assert done.report is not None and len(done.report.tainted) == 4


def test_a_load_into_that_accepts_damage_reports_it(damaged: Path) -> None:
    report = ckpt_core.load_into(_module(1), str(damaged), accept_damage=True)
    assert report.tainted == {"1.weight": "damaged"} and "tainted" in report.summary()


def test_a_comparison_with_damage_says_nothing_unless_that_is_accepted(damaged: Path, tmp_path: Path) -> None:
    torch.save(_module().state_dict(), tmp_path / "good.pt")
    assert main(["diff", str(tmp_path / "good.pt"), str(damaged)]) == 4
    assert [one.name for one in diff(str(tmp_path / "good.pt"), str(damaged), accept_damage=True).changed] == [
        "1.weight"
    ]


def test_a_certificate_says_what_the_source_was_checked_by(stale: Path, damaged: Path, tmp_path: Path) -> None:
    def said(source: Path, name: str) -> str:
        report = convert(str(source), str(tmp_path / name)).report
        assert report is not None
        return report.checked["source_checked"]

    assert said(stale, "one.pt") == "seal"
    (stale.parent / f"{stale.name}.ckpt.json").unlink()
    assert said(stale, "two.pt") == "nothing: it has no checksums"
    (tmp_path / "two.pt.ckpt.json").unlink()
    assert said(tmp_path / "two.pt", "three.safetensors") == "the crc32 of each record that has one"
