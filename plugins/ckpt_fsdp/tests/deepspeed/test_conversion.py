"""From partitions to one file, a torch file, and a model directory that transformers opens."""

import shutil

import pytest

import ckpt_core
from ckpt_core.cli.main import main
from ckpt_core.verbs.convert import convert

ON_THREE = ("deepspeed_save.py", 3)


def oracle(made, case):
    import torch

    return torch.load(made(*ON_THREE) / case / "oracle.pt", weights_only=True)


@pytest.mark.parametrize(
    "case", ["stage2-bf16", *(pytest.param(case, marks=pytest.mark.long) for case in ("stage2-aligned", "stage3-fp32"))]
)
def test_the_model_as_safetensors_equals_deepspeed_s_own_weights(made, tmp_path, case):
    import torch
    from safetensors.torch import load_file

    out = tmp_path / "out.safetensors"
    source = f"{made(*ON_THREE) / case / 'ds'}#global_step2"
    assert main(["convert", source, str(out), "--component", "model"]) == 0
    mine, expected = load_file(out), oracle(made, case)
    assert mine.keys() | {"head.weight"} == expected.keys()
    assert all(torch.equal(tensor.to(expected[name].dtype), expected[name]) for name, tensor in mine.items())


def test_the_model_as_a_torch_file_keeps_what_is_tied(made, tmp_path):
    import torch

    out = tmp_path / "out.pt"
    convert(f"{made(*ON_THREE) / 'stage3-bf16' / 'ds'}#global_step2", str(out), components=["model"], to="torch")
    state = torch.load(out, weights_only=True)
    assert state["head.weight"].data_ptr() == state["embed.weight"].data_ptr()
    expected = oracle(made, "stage3-bf16")
    assert all(torch.equal(state[name].to(tensor.dtype), tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("case", ["stage1-lean", "stage2-bf16", "stage3-bf16"])
def test_the_optimizer_as_a_torch_file_is_whole_and_by_name(made, tmp_path, case):
    """What is needed to train on with another number of ranks: moments of whole parameters, each with its own step."""
    import torch

    out = tmp_path / "out.pt"
    convert(f"{made(*ON_THREE) / case / 'ds'}#global_step2", str(out), components=["optimizer"], to="torch")
    written = torch.load(out, weights_only=True)["optimizer"]
    record = torch.load(made(*ON_THREE) / case / "moments.pt", weights_only=True)
    assert written["state"].keys() == record.keys()
    for name, state in written["state"].items():
        assert torch.equal(state["exp_avg"].flatten(), record[name]["exp_avg"].flatten())
        assert state["step"] == 2
    steps = {state["step"].data_ptr() for state in written["state"].values()}
    assert len(steps) == len(record)
    assert {name for group in written["param_groups"] for name in group["params"]} == record.keys()


def test_a_trainer_s_checkpoint_becomes_a_model_that_transformers_opens(made, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    folder = made("deepspeed_trainer.py", 2, 2)
    command = ["convert", str(folder / "checkpoint-2"), str(tmp_path / "hf"), "--format", "deepspeed", "--to", "hf"]
    code = main([*command, "--component", "model", "--component", "config"])
    assert code == 0
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32, output_loading_info=True)
    assert not (report["missing_keys"] or report["unexpected_keys"] or report["mismatched_keys"])
    expected = torch.load(folder / "oracle.pt", weights_only=True)
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert (tmp_path / "hf" / "generation_config.json").exists()
    assert not (tmp_path / "hf" / "training_args.bin").exists()


def test_the_fp32_weights_of_a_trainer_s_checkpoint_are_a_part_of_it(made):
    import torch

    folder = made("deepspeed_trainer.py", 2, 2)
    checkpoint = ckpt_core.load(str(folder / "checkpoint-2"))
    assert (checkpoint.match.format, checkpoint.manifest.step) == ("hf-trainer", 2)
    masters = checkpoint.to_torch("model:global_step2")
    expected = torch.load(folder / "oracle.pt", weights_only=True)
    assert all(torch.equal(masters[name], tensor) for name, tensor in expected.items())


def test_a_broken_config_beside_the_tag_is_a_warning(made, tmp_path):
    folder = shutil.copytree(made("deepspeed_trainer.py", 2, 2) / "checkpoint-2", tmp_path / "checkpoint-2")
    (folder / "config.json").write_text("{")
    assert [f.code for f in ckpt_core.verify(str(folder), format="deepspeed").report.findings] == ["ZE015"]
