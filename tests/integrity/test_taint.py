"""What is tainted stays so, wherever it is written and whichever of its records is thrown away."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ckpt_core
from ckpt_core.reading.selection import select
from ckpt_core.schema.causes import CAUSES, EXTRACTED
from ckpt_core.schema.roles import Profile
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save
from ckpt_core.verbs.seal import seal
from ckpt_core.verbs.verify import verify


def _source(folder: Path) -> Path:
    path = folder / "source.pt"
    torch.save({"a": torch.arange(6.0), "b": torch.ones(2, 3)}, path)
    return path


def _tainted(folder: Path, cause: str = EXTRACTED) -> ckpt_core.StoredCheckpoint:
    found = ckpt_core.load(str(_source(folder)))
    found.manifest = replace(found.manifest, tainted={"model/a": cause})
    return found


def _said(place: Path) -> list[str]:
    report = verify(str(place)).report
    return [f"{finding.tensor}: {finding.message}" for finding in report.findings if finding.code == "IN001"]


def _without_seal(place: Path) -> None:
    inside = [place / "ckpt.manifest.json", place / "ckpt.blocks"] if place.is_dir() else []
    for path in (place.with_name(place.name + ".ckpt.json"), *inside):
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("name, to", [("o.safetensors", "safetensors"), ("o.pt", "torch"), ("hf", "hf"), ("d", "dcp")])
@pytest.mark.parametrize("sealed", [True, False])
def test_every_format_keeps_the_taint_with_and_without_its_seal(
    tmp_path: Path, name: str, to: str, sealed: bool
) -> None:
    place = tmp_path / name
    save(_tainted(tmp_path), str(place), format=to)
    if not sealed:
        _without_seal(place)
    assert len(_said(place)) == 1 and "a: model/a is tainted (extracted" in _said(place)[0]
    verdict = verify(str(place), profile=Profile.INFERENCE).report.assessment
    assert verdict is not None and verdict.verdict.value == "CORRUPT"


@pytest.mark.parametrize("cause", CAUSES)
def test_a_conversion_carries_the_taint_on_under_the_names_that_it_writes(tmp_path: Path, cause: str) -> None:
    save(_tainted(tmp_path, cause), str(tmp_path / "hf"), format="hf")
    convert(str(tmp_path / "hf"), str(tmp_path / "two.pt"), rename=["a=layer.a"])
    convert(str(tmp_path / "two.pt"), str(tmp_path / "three.safetensors"))
    _without_seal(tmp_path / "three.safetensors")
    assert "model/layer.a is tainted" in _said(tmp_path / "three.safetensors")[0]
    assert cause in _said(tmp_path / "three.safetensors")[0]


def test_what_is_left_out_of_a_conversion_taints_nothing(tmp_path: Path) -> None:
    save(_tainted(tmp_path), str(tmp_path / "hf"), format="hf")
    convert(str(tmp_path / "hf"), str(tmp_path / "clean"), to="hf", exclude=["a"])
    assert _said(tmp_path / "clean") == []
    assert not (tmp_path / "clean" / "ckpt.tainted.json").exists()


def test_other_readers_load_what_carries_the_record(tmp_path: Path) -> None:
    view = select(_tainted(tmp_path))
    save(view, str(tmp_path / "o.pt"))
    save(view, str(tmp_path / "o.safetensors"))
    for found in (torch.load(tmp_path / "o.pt", weights_only=True), load_file(tmp_path / "o.safetensors")):
        assert torch.equal(found["a"], torch.arange(6.0))


def test_a_record_that_cannot_be_read_is_no_clean_bill(tmp_path: Path) -> None:
    save(_tainted(tmp_path), str(tmp_path / "hf"), format="hf")
    (tmp_path / "hf" / "ckpt.tainted.json").write_text('{"model/a": "fine"}')
    _without_seal(tmp_path / "hf")
    assert "IN002" in {finding.code for finding in verify(str(tmp_path / "hf")).report.findings}


@pytest.mark.parametrize("name", ["o.safetensors", "o.pt"])
@pytest.mark.parametrize("kept", ["seal", "content"])
def test_what_a_repair_made_up_is_a_taint_of_what_is_made_of_it(tmp_path: Path, name: str, kept: str) -> None:
    source, out = tmp_path / "hf", tmp_path / name
    save(ckpt_core.load(str(_source(tmp_path))), str(source), format="hf")
    _without_seal(source)
    note = {"schema": "ckpt/synthesized@1", "components": {"model": "seeded with 7"}}
    (source / "ckpt.synthesized.json").write_text(json.dumps(note))
    assert _said(source) == []
    convert(str(source), str(out), components=["model"])
    if kept == "content":
        _without_seal(out)
    assert len(_said(out)) == 1 and "model/a, model/b are tainted (synthesized" in _said(out)[0]
    module = torch.nn.ParameterDict({"a": torch.zeros(6), "b": torch.zeros(2, 3)})
    assert ckpt_core.load_into(module, str(source)).tainted == {"a": "synthesized", "b": "synthesized"}


@pytest.mark.parametrize("name, to", [("o.safetensors", "safetensors"), ("o.pt", "torch"), ("hf", "hf"), ("d", "dcp")])
def test_a_seal_made_afterwards_says_the_taint_of_the_content(tmp_path: Path, name: str, to: str) -> None:
    save(_tainted(tmp_path), str(tmp_path / name), format=to)
    _without_seal(tmp_path / name)
    seal(str(tmp_path / name))
    found = ckpt_core.read_seal(ckpt_core.list_files(str(tmp_path / name)))
    assert found is not None and found.provenance["tainted"] == {"model/a": EXTRACTED}
