"""DyLoRA-MoE: both of its layouts, out of what the Trainer and PEFT wrote, and each part of them missing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

import ckpt_core

EXPERT = "peft_adapters/expert_{0}/expert_{0}"


@pytest.fixture(scope="session")
def trained(made):
    return made("trainer_runs.py") / "full"


@pytest.fixture(scope="session")
def adapters(made):
    return made("peft_runs.py") / "experts"


@pytest.fixture
def saved(trained, adapters, tmp_path):
    """What the callback leaves of the Trainer's checkpoint-4."""
    folder = shutil.copytree(trained / "checkpoint-4", tmp_path / "checkpoint-4")
    (folder / "model.safetensors").unlink()
    shutil.copytree(adapters, folder / "peft_adapters")
    save_file({"gate.weight": torch.ones(2, 4), "gate.bias": torch.ones(2)}, folder / "router.safetensors")
    config = {"model_type": "dylora-moe", "_dylora_format": "peft_separated", "_dylora_checkpoint_step": 4}
    config |= {"base_model_name_or_path": "example/tiny-llama", "num_experts": 2, "checkpoint_type": "peft_only"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def router(folder):
    """As the router of the first version saves itself, and the skills beside it."""
    folder.mkdir()
    gate = {"weight": torch.ones(2, 4), "bias": torch.ones(2)}
    state = {"gate_state_dict": gate, "expert_maturity": torch.zeros(2), "num_experts": 2, "top_k": 1}
    torch.save(state, folder / "router.pt")
    torch.save({0: torch.ones(3), 1: torch.ones(3)}, folder / "skill_library.pt")
    return folder


@pytest.fixture
def container(trained, tmp_path):
    """The first version's results: the Trainer's run, the best model, and the state of the router beside them."""
    run = shutil.copytree(trained, tmp_path / "results_full")
    shutil.copytree(run / "checkpoint-6", run / "best_model")
    for name in ("optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth"):
        (run / "best_model" / name).unlink()
    for name in ("trainer_state.json", "training_args.bin"):
        shutil.copy(run / "checkpoint-6" / name, run)
    router(run / "dylo_moe_state")
    return run


def detect(place):
    files = ckpt_core.list_files(str(place))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


def labels(place):
    return {component.label for component in ckpt_core.load(str(place)).manifest.components}


def test_experts_and_router_are_complete_to_compute_with_and_not_to_train_on(saved, assessed):
    found = detect(saved)
    roots = [match.root for match in found.members if match.format not in ("safetensors", "torch")]
    assert (found.best.format, found.best.step, found.rivals, roots) == ("dylora", 4, (), [])
    expected = {"adapter:expert_0", "adapter:expert_1", "model:router", "progress", "optimizer", "scheduler"}
    assert expected <= labels(saved)
    assert assessed(saved, "inference")[0] == "COMPLETE"
    report = ckpt_core.verify(str(saved), profile=ckpt_core.Profile.RESUME).report
    [lack] = report.assessment.lacking
    assert (lack.role.label, lack.role.presence.value) == ("model", "absent")
    assert "deletes the model's weights" in lack.role.note


def test_with_the_weights_that_the_trainer_wrote_it_is_complete_to_train_on(saved, trained, assessed):
    shutil.copy(trained / "checkpoint-4" / "model.safetensors", saved)
    assert assessed(saved, "exact-resume")[0] == "COMPLETE"


@pytest.mark.parametrize(
    ("gone", "label"),
    [
        (EXPERT.format(0), "adapter:expert_0"),
        ("peft_adapters/expert_1", "adapter:expert_1"),
        (EXPERT.format(1) + "/adapter_model.safetensors", "adapter:expert_1"),
        (EXPERT.format(1) + "/adapter_config.json", "config:adapter:expert_1"),
        ("router.safetensors", "model:router"),
    ],
)
def test_a_part_that_is_gone_flips_its_own_line(saved, assessed, gone, label):
    shutil.rmtree(saved / gone) if (saved / gone).is_dir() else (saved / gone).unlink()
    verdict, lines = assessed(saved, "inference")
    assert verdict == "PARTIAL"
    assert [name for name, presence in lines.items() if presence == "absent"] == [label]


def test_experts_without_the_config_are_still_counted_by_the_router(saved, assessed):
    (saved / "config.json").unlink()
    shutil.rmtree(saved / "peft_adapters" / "expert_1")
    assert assessed(saved, "inference")[1]["adapter:expert_1"] == "absent"


def change(saved, **more):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | more))


def test_a_config_of_another_number_of_experts_is_said(saved):
    change(saved, num_experts=1)
    report = ckpt_core.verify(str(saved)).report
    assert [finding.code for finding in report.findings if finding.severity > 0] == ["HT013", "HT013"]


def test_a_config_of_any_number_of_experts_costs_no_more_than_its_digits(saved, assessed):
    change(saved, num_experts=10**12)
    lines = assessed(saved, "inference")[1]
    assert lines["adapter:expert_2"] == lines["adapter:others"] == "absent" and len(lines) < 100


@pytest.mark.parametrize("name", ["router.safetensors", EXPERT.format(0) + "/adapter_model.safetensors"])
def test_a_part_that_is_empty_is_corrupt(saved, assessed, name):
    (saved / name).write_bytes(b"")
    assert assessed(saved, "inference")[0] == "CORRUPT"


def test_experts_in_single_files_beside_their_router_are_read(tmp_path, saved):
    folder = tmp_path / "best_model"
    (folder / "peft_adapters").mkdir(parents=True)
    for number in range(2):
        name = "base_model.model.q_proj.lora_A.weight"
        torch.save({name: torch.ones(2, 2)}, folder / "peft_adapters" / f"expert_{number}.pt")
    router(folder / "dylo_moe_state")
    (folder / "config.json").write_text('{"_dylora_num_experts": 2, "_dylora_lora_r": 2}')
    assert detect(folder).best.format == "dylora"
    expected = {"adapter:expert_0", "adapter:expert_1", "model:router", "model:skill_library", "progress:router"}
    assert expected <= labels(folder)


def test_a_container_lists_what_is_in_it_and_chooses_nothing(container, assessed):
    found = detect(container)
    assert (found.best, found.rivals) == (None, ())
    members = {match.root: match.format for match in found.members if match.format != "torch"}
    runs = {f"checkpoint-{step}": "hf-trainer" for step in (2, 4, 6)}
    assert members == {**runs, "best_model": members["best_model"], "dylo_moe_state": "dylora"}
    with pytest.raises(ckpt_core.UsageError, match="holds"):
        ckpt_core.load(str(container))
    assert ckpt_core.locate(str(container), profile="resume").require().url == str(container / "checkpoint-6")


def test_the_state_of_the_router_by_itself_is_no_model(container, assessed):
    state = container / "dylo_moe_state"
    assert {"model:router", "progress:router", "model:skill_library"} == labels(state)
    verdict, lines = assessed(state, "inference")
    assert (verdict, lines["model"]) == ("PARTIAL", "absent")
