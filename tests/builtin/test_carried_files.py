"""Files that are left out of the listing, and files that are carried along unread, are not passed over."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save

import ckpt_core
from ckpt_core import Depth, Profile

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"


@pytest.fixture
def model(tmp_path):
    """A model directory with a tokenizer."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(save({"a": np.ones(2, "<f4")}))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    return folder


def found(folder, **asked):
    """Code and severity of every finding, by path."""
    report = ckpt_core.verify(str(folder), **asked).report
    return {finding.path: (finding.code, finding.severity.name) for finding in report.findings}


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors.index.json", ".metadata", "last.ckpt"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.symlink("nowhere", path), lambda path: os.symlink("/", path)]
)
def test_what_has_a_checkpoints_name_and_cannot_be_read_is_an_error(model, name, make):
    make(model / name)
    assert found(model)[name] == ("CK006", "ERROR")


@pytest.mark.parametrize("name", ["socket", "logs", "latest"])
def test_what_may_lie_beside_a_checkpoint_is_a_warning(model, name):
    os.mkfifo(model / name)
    assert found(model)[name] == ("CK006", "WARNING")


def test_weights_that_are_left_out_are_unreadable_and_not_absent(model):
    (model / "trainer_state.json").write_text('{"global_step": 1}')
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    report = ckpt_core.verify(str(model), profile=Profile.RESUME).report
    lines = {line.role.label: line.role.presence.value for line in report.assessment.lines}
    assert (lines["model"], lines["optimizer"]) == ("unreadable", "absent")
    assert report.assessment.verdict.value == "CORRUPT"
    with pytest.raises(ckpt_core.CorruptError, match="model is unreadable"):
        ckpt_core.load(str(model)).component("model")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CK010"),
        (LFS, "CK011"),
        (b"<!DOCTYPE html><html>", "CK012"),
        (bytes(50), "CK013"),
        (b'{"model": {"vocab": {"a": 0}}', "CK018"),
        (b'{"step": 1}\n{"step": 2}\n', None),
        (b'{"scale": NaN}', None),
        (b'{"a":' * 100_000, "CK018"),
        (b'{"model": {"vocab": {"a": 0', "CK018"),
        (b'["a", ', "CK018"),
        (b"\x8f\x01junk", "CK018"),
        (b"\xef\xbb\xbf {} \n", None),
        (b'"text"', None),
        (b'{"pad": "' + b"x" * (1 << 17) + b'"}', None),
        (b'{"pad": "' + b"x" * (1 << 17), "CK018"),
    ],
)
def test_a_tokenizer_that_is_something_else_is_an_error(model, content, code):
    (model / "tokenizer.json").write_bytes(content)
    assert found(model).get("tokenizer.json") == (code and (code, "ERROR"))


def test_a_long_file_is_read_whole_where_every_byte_is(model):
    (model / "tokenizer.json").write_bytes(b'{"a": {"pad": "' + b"x" * (1 << 17) + b'"}')
    assert "tokenizer.json" not in found(model)
    assert found(model, depth=Depth.BYTES)["tokenizer.json"] == ("CK018", "ERROR")


def test_a_text_file_may_be_empty_and_is_no_pointer(model):
    (model / "added.txt").write_bytes(b"")
    (model / "merges.txt").write_bytes(LFS)
    assert found(model) == {"merges.txt": ("CK011", "ERROR")}


def test_a_trainers_folder_without_weights_is_not_called_fine(model):
    (model / "trainer_state.json").write_text('{"global_step": 1}')
    (model / "model.safetensors").unlink()
    assert found(model) == {"model.safetensors": ("CK024", "WARNING"), None: ("RS001", "ERROR")}
    assert "CK024" not in {code for code, _ in found(model, profile=Profile.RESUME).values()}


def test_an_adapters_config_alone_is_nothing_that_was_checked(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
    assert found(tmp_path)[None] == ("CK007", "ERROR")


def test_a_broken_link_beside_a_file_is_none_of_its_faults(tmp_path):
    for name in ("step_200", "step_300"):
        ckpt_core.save({"w": np.ones(4)}, str(tmp_path / f"{name}.safetensors"))
    (tmp_path / "last.safetensors").symlink_to("step_100.safetensors")
    for ref in (f"{tmp_path}#step_300.safetensors", f"{tmp_path}#step_200.safetensors"):
        assert ckpt_core.verify(ref, profile=ckpt_core.Profile.INFERENCE).report.assessment.verdict.value == "COMPLETE"


def test_a_folder_that_is_left_out_hides_what_is_below_it_and_is_an_error(tmp_path):
    place, away = tmp_path / "checkpoint-4", tmp_path / "away"
    away.mkdir()
    (place / "text_encoder").mkdir(parents=True)
    (place / "model_index.json").write_text('{"_class_name": "P", "unet": ["diffusers", "UNet2DModel"]}')
    (place / "unet").symlink_to(away)
    report = ckpt_core.verify(str(place), profile=ckpt_core.Profile.INFERENCE).report
    assert report.assessment.verdict.value == "CORRUPT"
    assert {line.role.label: line.role.presence.value for line in report.assessment.lines}["model:unet"] == "unreadable"
    assert ("CK006", "unet", ckpt_core.Severity.ERROR) in {(f.code, f.path, f.severity) for f in report.findings}


@pytest.mark.parametrize("name", [".vscode/settings.json", ".#config.json", "eval_results.json"])
def test_what_no_loader_reads_is_no_error(tmp_path, name):
    ckpt_core.save({"w": np.ones(4)}, str(tmp_path / "m"), format="hf")
    (tmp_path / "m" / "config.json").write_text("{}")
    path = tmp_path / "m" / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("user@host.12:34") if "#" in name else path.write_text("{ // a comment")
    assert ckpt_core.verify(str(tmp_path / "m"), profile=ckpt_core.Profile.INFERENCE).report.ok


def test_blanks_at_the_end_of_long_json_say_nothing(tmp_path):
    ckpt_core.save({"w": np.ones(4)}, str(tmp_path / "m"), format="hf")
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "m" / "tokenizer.json").write_text('{"a": "' + "x" * 70_000 + '"}' + " " * 100)
    assert ckpt_core.verify(str(tmp_path / "m")).report.ok
