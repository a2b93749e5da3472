"""Adapters as PEFT saves them: complete with their config, each named one by itself, and what only looks like one."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_core

MAKER = "peft_runs.py"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="session")
def saves(made):
    return made(MAKER)


def detect(place):
    files = ckpt_core.list_files(str(place))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


def members(found):
    """What was found below that is a directory; the files by themselves are core's."""
    return [match.root for match in found.members if match.format not in ("safetensors", "torch")]


def labels(place):
    return {component.label for component in ckpt_core.load(str(place)).manifest.components}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("one", {"adapter", "config:adapter"}),
        ("bin", {"adapter", "config:adapter"}),
        ("named", {"adapter", "config:adapter", "adapter:style", "config:adapter:style"}),
        ("selected", {"adapter:style", "config:adapter:style"}),
    ],
)
def test_what_peft_saves_is_complete_to_compute_with(saves, assessed, kind, expected):
    found = detect(saves / kind)
    assert (found.best.format, found.rivals, members(found)) == ("peft", (), [])
    assert labels(saves / kind) == expected
    assert assessed(saves / kind, "inference")[0] == "COMPLETE"
    verdict, lines = assessed(saves / kind, "resume")
    assert (verdict, lines["optimizer"]) == ("PARTIAL", "absent")


def test_the_base_model_is_named_and_not_asked_for(saves):
    checkpoint = ckpt_core.load(str(saves / "one"))
    assert checkpoint.manifest.metadata["base_model"] == "example/tiny-llama"
    [base] = [role for role in checkpoint.manifest.roles if role.kind == "model"]
    assert (base.presence.value, base.where) == ("not needed", "example/tiny-llama")


def test_the_tensors_are_those_that_peft_saved(saves):
    checkpoint = ckpt_core.load(str(saves / "one"))
    for name, tensor in load_file(saves / "one" / WEIGHTS).items():
        assert bytes(checkpoint.read("adapter", name)) == tensor.numpy().tobytes()


@pytest.mark.parametrize(
    ("kind", "name"), [("bin", "default"), pytest.param("selected", "style", marks=pytest.mark.long)]
)
def test_what_is_complete_peft_loads_in_a_fresh_process(saves, maker, kind, name):
    out = maker(MAKER, "load", saves / kind, name)
    expected = json.loads((saves / "outputs.json").read_text())[name]
    assert float(out.rpartition("OUTPUT ")[2]) == expected


@pytest.mark.parametrize(
    ("gone", "label"),
    [
        (WEIGHTS, "adapter"),
        (CONFIG, "config:adapter"),
        (f"style/{WEIGHTS}", "adapter:style"),
        (f"style/{CONFIG}", "config:adapter:style"),
    ],
)
def test_a_part_that_is_gone_flips_its_own_line(saves, copy_of, assessed, gone, label):
    folder = copy_of(saves / "named")
    (folder / gone).unlink()
    verdict, lines = assessed(folder, "inference")
    assert verdict == "PARTIAL"
    assert [name for name, presence in lines.items() if presence == "absent"] == [label]


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, f"style/{WEIGHTS}"])
@pytest.mark.parametrize(
    ("content", "code"), [(b"", "CK010"), (b"version https://git-lfs.github.com/spec/v1\n", "CK011")]
)
def test_what_lies_in_the_place_of_a_part_is_called_by_its_name(saves, copy_of, name, content, code):
    folder = copy_of(saves / "named")
    (folder / name).write_bytes(content)
    report = ckpt_core.verify(str(folder), profile=ckpt_core.Profile.INFERENCE).report
    assert report.assessment.verdict.value == "CORRUPT"
    assert (code, name) in {(finding.code, finding.path) for finding in report.findings}


def errors(folder, format=None):
    report = ckpt_core.verify(str(folder), format=format).report
    return [finding.code for finding in report.findings if finding.severity > 1]


def test_a_whole_model_under_an_adapters_name_is_said(saves, copy_of):
    folder = copy_of(saves / "one")
    save_file({"model.layers.0.self_attn.q_proj.weight": torch.ones(2, 2)}, folder / WEIGHTS)
    assert errors(folder) == ["HT012"]


@pytest.mark.parametrize("beside", [(CONFIG,), ("config.json",), ("trainer_state.json",)])
def test_an_adapter_under_a_models_name_is_said(saves, copy_of, beside):
    folder = copy_of(saves / "one")
    (folder / WEIGHTS).rename(folder / "model.safetensors")
    if CONFIG not in beside:
        (folder / CONFIG).unlink()
        (folder / beside[0]).write_text("{}")
    assert "HT011" in errors(folder)


def test_a_whole_model_that_lora_wraps_is_no_adapter(tmp_path):
    layer = "base_model.model.model.q_proj"
    names = (f"{layer}.base_layer.weight", f"{layer}.lora_A.default.weight", f"{layer}.lora_B.default.weight")
    save_file({name: torch.ones(2, 2) for name in names}, tmp_path / "model.safetensors")
    assert errors(tmp_path) == []


def test_adapters_that_were_saved_apart_are_checkpoints_of_their_own(saves, tmp_path):
    for name in ("first", "checkpoint-5"):
        shutil.copytree(saves / "one", tmp_path / name)
    found = detect(tmp_path)
    assert found.best is None
    assert {(match.format, match.root, match.step) for match in found.members} == {
        ("peft", "first", None),
        ("peft", "checkpoint-5", 5),
    }


def test_a_model_with_an_adapter_below_it_is_the_model_and_its_member(saves, single):
    shutil.copytree(saves / "one", single / "lora")
    found = detect(single)
    assert (found.best.format, members(found)) == ("hf", ["lora"])
    (single / "lora" / "README.md").unlink()
    found = detect(single)
    assert (found.best.format, members(found)) == ("hf", ["lora"])


def test_the_trainers_checkpoint_has_the_named_adapters_of_its_save(saves, copy_of):
    folder = copy_of(saves / "named", "checkpoint-4")
    (folder / "trainer_state.json").write_text('{"global_step": 4}')
    found = detect(folder)
    assert (found.best.format, found.rivals, members(found)) == ("hf-trainer", (), [])
    assert {"adapter", "adapter:style"} <= labels(folder)


def test_an_adapter_that_changes_nothing_is_found_by_its_values(saves, copy_of):
    folder = copy_of(saves / "one")
    tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    report = ckpt_core.verify(str(folder), depth=ckpt_core.Depth.VALUES).report
    assert "VL005" in {finding.code for finding in report.findings}
