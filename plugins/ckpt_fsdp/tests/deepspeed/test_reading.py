"""What DeepSpeed wrote is read as DeepSpeed itself reads it: weights, moments, and all that lies beside them."""

import subprocess
import sys

import pytest

import ckpt_core
from ckpt_core import DType

STAGES_0 = ["stage0-fp32", "stage0-bf16"]
CUT_WHOLE = ["stage1-fp32", "stage1-bf16", "stage1-lean", "stage2-bf16", "stage2-aligned", "stage2-round"]
CUT_EACH = ["stage3-fp32", "stage3-bf16"]
FEW = ["stage1-bf16", "stage2-bf16", "stage3-fp32"]
ON_TWO = ("deepspeed_save.py", 2, *FEW)
ON_THREE = ("deepspeed_save.py", 3)
CASES = [(ON_THREE, name) for name in (*CUT_WHOLE, *CUT_EACH)] + [(ON_TWO, name) for name in FEW]


def cases(*without):
    """The cases without those named, each with the maker's arguments."""
    kept = [(maker, name) for maker, name in CASES if name not in without]
    return pytest.mark.parametrize(("maker", "name"), kept, ids=[f"{maker[1]}-{name}" for maker, name in kept])


@pytest.fixture(scope="session")
def three(made):
    return made(*ON_THREE)


def load(folder, tag="global_step2"):
    return ckpt_core.load(f"{folder}/ds#{tag}")


def saved(folder, name):
    import torch

    return torch.load(folder / name, weights_only=True)


# What BF16_Optimizer wrote says no stage, which DeepSpeed's own script refuses; the next test has its weights too.
@cases("stage1-bf16")
def test_weights_equal_those_that_deepspeed_consolidates(made, maker, name):
    import torch

    folder = made(*maker) / name
    oracle, mine = saved(folder, "oracle.pt"), load(folder).to_torch("model")
    for key, tensor in oracle.items():
        assert mine[key].shape == tensor.shape
        assert torch.equal(mine[key].to(tensor.dtype), tensor), key
    # DeepSpeed's script leaves out what is frozen at stage 1.
    assert mine.keys() - oracle.keys() <= ({"frozen.weight"} if name.startswith("stage1") else set())


# With round_robin_gradients DeepSpeed's calls give the fragments of other parameters.
@cases("stage2-round")
def test_weights_and_moments_equal_those_that_deepspeed_gathers(made, maker, name):
    import torch

    folder = made(*maker) / name
    checkpoint, record = load(folder), saved(folder, "moments.pt")
    weights, moments = checkpoint.to_torch("model"), checkpoint.to_torch("optimizer")
    for key, gathered in record.items():
        assert torch.equal(weights[key].flatten(), gathered["fp32"].flatten()), key
        for moment in ("exp_avg", "exp_avg_sq"):
            mine = moments[f"state.{key}.{moment}"]
            assert mine.shape == weights[key].shape
            assert torch.equal(mine.flatten(), gathered[moment].flatten()), (key, moment)
        assert moments[f"state.{key}.step"] == 2
    assert len(moments) == 3 * len(record)


@pytest.mark.parametrize("name", ["stage1-bf16", "stage1-lean", "stage2-bf16", "stage2-aligned", "stage2-round"])
def test_the_module_is_the_masters_in_fewer_bits(three, name):
    """A proof of the places that needs no tool: masters put together wrongly would not round to the module."""
    import torch

    checkpoint = load(three / name)
    masters, module = checkpoint.to_torch("model"), checkpoint.to_torch("model:module")
    for key, tensor in saved(three / name, "module.pt").items():
        assert torch.equal(module[key], tensor)
        assert torch.equal(masters[key].to(tensor.dtype), tensor), key
    assert masters["embed.weight"].dtype is torch.float32
    assert module["embed.weight"].dtype is torch.bfloat16


@pytest.mark.parametrize("name", STAGES_0)
def test_without_zero_the_model_is_the_module(three, name):
    import torch

    checkpoint = load(three / name)
    module = saved(three / name, "module.pt")
    mine = checkpoint.to_torch("model")
    assert mine.keys() == module.keys()
    assert all(torch.equal(mine[key], tensor) for key, tensor in module.items())
    inner = "" if name == "stage0-fp32" else "optimizer_state_dict."
    assert checkpoint.to_torch("optimizer")[f"{inner}state.0.exp_avg"].shape == (11, 5)


def test_fp32_weights_without_names_are_said(three):
    assert [f.code for f in load(three / "stage0-bf16").manifest.findings] == ["ZE011"]


@pytest.mark.parametrize("name", [*CUT_WHOLE, *CUT_EACH])
def test_tied_frozen_and_buffers_are_part_of_the_model(three, name):
    checkpoint = load(three / name)
    table = checkpoint.component("model").tensors
    assert table["head.weight"].alias_of == "embed.weight"
    assert table["frozen.weight"].shape == (5, 7)
    assert (table["count"].dtype, table["count"].shape) == (DType.I64, ())
    assert list(checkpoint.to_torch("model", names=["scale"])["scale"]) == [0.5, 1.25, 3.0]


@pytest.mark.parametrize("name", CUT_EACH)
def test_empty_tensors_of_stage_3_are_never_weights(three, name):
    """The module's own tensors have no elements there: none of them is taken for a parameter, or for a component."""
    checkpoint = load(three / name)
    labels = [component.label for component in checkpoint.manifest.components]
    assert "model:module" not in labels
    assert all(info.numel for _, info in checkpoint.component("model").tensors.infos())


def test_a_partition_s_padding_is_no_part_of_a_tensor(three):
    table = load(three / "stage3-fp32").component("model").tensors
    for name in table:
        stored = sum(chunk.stored.length for chunk in table[name].chunks)
        assert stored == table[name].nbytes, name


def test_everything_besides_tensors_is_kept(three):
    checkpoint = load(three / "stage2-bf16")
    parts = {component.label: component.state for component in checkpoint.manifest.components}
    assert parts["scheduler"]["last_epoch"] == 2
    assert parts["scaler"]["loss_scaler"] == {"class": "LossScaler", "cur_scale": 1.0, "dynamic": False}
    progress = {"tag": "global_step2", "zero_stage": 2, "global_steps": 2, "global_samples": 12, "skipped_steps": 0}
    assert progress.items() <= parts["progress"].items()
    assert parts["progress:client_state"] == {"epoch": 3, "note": "kept"}
    assert parts["config:deepspeed"]["zero_optimization"] == {"stage": 2}
    assert checkpoint.component("rng").tensors["rng_state"].dtype is DType.U8
    assert checkpoint.manifest.step == 2


@pytest.mark.parametrize("name", ["stage2-bf16", "stage3-fp32"])
def test_parameter_groups_name_their_parameters(three, name):
    groups = load(three / name).component("optimizer").state["param_groups"]
    assert [group["params"] for group in groups] == [
        ["embed.weight", "conv.weight", "mix.weight"],
        ["conv.bias", "mix.bias", "norm.weight", "norm.bias"],
    ]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]


def test_each_tag_is_of_its_own_step(three):
    import torch

    first, second = (load(three / "stage2-bf16", f"global_step{step}") for step in (1, 2))
    assert (first.manifest.step, second.manifest.step) == (1, 2)
    assert not torch.equal(first.to_torch("model")["mix.weight"], second.to_torch("model")["mix.weight"])


def test_reading_imports_neither_torch_nor_deepspeed(three):
    script = (
        "import sys, ckpt_core as ck\n"
        f"c = ck.load({str(three / 'stage3-bf16' / 'ds')!r} + '#global_step2')\n"
        "c.read('model', 'embed.weight'); c.read('optimizer', 'state.mix.weight.exp_avg')\n"
        f"ck.verify({str(three / 'stage2-bf16' / 'ds')!r} + '#global_step2', depth=ck.Depth.BYTES)\n"
        "assert not {'torch', 'deepspeed', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("name", [*STAGES_0, *CUT_WHOLE, *CUT_EACH])
def test_what_deepspeed_wrote_passes_verification(three, name):
    report = ckpt_core.verify(f"{three / name / 'ds'}#global_step2", depth=ckpt_core.Depth.VALUES).report
    assert [f.code for f in report.findings] == (["ZE011"] if name == "stage0-bf16" else [])
