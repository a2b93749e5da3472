"""The advice about damage works: it names `--accept-damage` where that goes on, and says so where it cannot."""

from pathlib import Path

import click
import pytest
import torch

import ckpt_core
from ckpt_core.cli.app import group
from ckpt_core.cli.main import main
from ckpt_core.cli.output.failures import ACCEPTING


@pytest.fixture
def place(tmp_path: Path) -> Path:
    torch.save({"a": torch.arange(600.0), "b": torch.ones(7)}, tmp_path / "m.pt")
    return tmp_path / "m.pt"


def _flip(place: Path, at: int) -> None:
    data = bytearray(place.read_bytes())
    data[at] ^= 1
    place.write_bytes(data)


def _flip_tensor(place: Path) -> None:
    _flip(place, ckpt_core.load(str(place)).component("model").tensors.info("a").offset + 9)


def _command(verb: str, place: Path) -> list[str]:
    out = str(place.parent / "out.safetensors")
    return {"convert": ["convert", str(place), out], "diff": ["diff", str(place), str(place)]}[verb]


def test_every_command_that_has_the_option_is_named_in_the_advice() -> None:
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    having = {name for name, one in commands.items() if one and any(p.name == "accept_damage" for p in one.params)}
    assert having == set(ACCEPTING)


@pytest.mark.parametrize("verb, code", [("convert", 0), ("diff", 0)])
def test_the_advice_after_damage_works(place: Path, verb: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    _flip_tensor(place)
    assert main(_command(verb, place)) == 4
    assert "get the file again; --accept-damage" in capsys.readouterr().err
    assert main([*_command(verb, place), "--accept-damage"]) == code


def test_a_command_without_the_option_does_not_advise_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _flip_tensor(place)
    assert main(["seal", str(place)]) == 4
    said = capsys.readouterr().err
    assert "get the file again" in said and "--accept-damage" not in said


@pytest.mark.parametrize("verb", ["convert", "diff"])
def test_what_cannot_be_read_cannot_be_accepted_and_nobody_is_told_to_try(
    place: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _flip(place, place.read_bytes().index(b"_rebuild_tensor_v2") + 3)
    assert main(_command(verb, place)) == 4
    said = capsys.readouterr().err
    assert "ZP004" in said and "data.pkl" in said and "--accept-damage" not in said
    assert main([*_command(verb, place), "--accept-damage"]) == 4
    assert "--accept-damage cannot go on from this" in capsys.readouterr().err


def test_a_record_of_taint_that_cannot_be_read_cannot_be_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt_core.save({"a": torch.ones(3)}, str(tmp_path / "hf"), format="hf")
    (tmp_path / "hf" / "ckpt.tainted.json").write_text("{")
    asked = ["convert", str(tmp_path / "hf"), str(tmp_path / "o.pt"), "--accept-damage"]
    assert main(asked) == 4
    said = capsys.readouterr().err
    assert "IN002" in said and "cannot go on from this" in said and not (tmp_path / "o.pt").exists()
