"""A cast touches plain weights only: what else is floating keeps its type, and that is said."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core.schema.profiles import Verdict
from ckpt_core.schema.roles import Profile


@pytest.fixture
def trained(tmp_path):
    """What a loop saves after 1001 steps of AdamW."""
    net = torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    for entry in state["state"].values():
        entry["step"].fill_(1001)
        entry["exp_avg_sq"].fill_(1e-10)
    saved = {"model": net.state_dict(), "ema": net.state_dict(), "optimizer": state, "scheduler": {"last_epoch": 1001}}
    torch.save({**saved, "step": 1001}, tmp_path / "run.pt")
    return tmp_path / "run.pt"


def cast(source, *dtypes):
    made = source.with_name("made.pt")
    done = ckpt_core.convert(str(source), str(made), dtypes=dtypes, force=True)
    return torch.load(made), done


def types(state):
    return {name: str(value.dtype).removeprefix("torch.") for name, value in state["optimizer"]["state"][0].items()}


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16, ckpt_core.DType.BF16, "fp16", "*=half"])
def test_a_bare_type_casts_weights_and_averages_alone(trained, dtype):
    made, done = cast(trained, dtype)
    assert {tensor.itemsize for part in ("model", "ema") for tensor in made[part].values()} == {2}
    assert set(types(made).values()) == {"float32"}
    moments = made["optimizer"]["state"][0]
    assert moments["step"].item() == 1001 and moments["exp_avg_sq"].max().item() == pytest.approx(1e-10)
    assert {(one.component, one.why, one.names) for one in done.uncast} == {
        ("optimizer", "not weights", ("exp_avg", "exp_avg_sq")),
        ("optimizer", "counters", ("step",)),
    }


def test_an_optimizer_is_cast_where_it_is_named_and_its_steps_never_by_a_glob(trained):
    made, done = cast(trained, "optimizer/*=bf16")
    assert types(made) == {"step": "float32", "exp_avg": "bfloat16", "exp_avg_sq": "bfloat16"}
    assert {str(tensor.dtype) for tensor in made["model"].values()} == {"torch.float32"}
    assert [one.why for one in done.uncast] == ["counters"]
    made, _ = cast(trained, "optimizer/*.exp_avg=bf16", "optimizer/state.0.step=f64")
    assert types(made) == {"step": "float64", "exp_avg": "bfloat16", "exp_avg_sq": "float32"}


def test_a_glob_without_a_label_is_of_weights_whatever_else_has_such_a_name(tmp_path):
    state = {"model": {"w": torch.ones(2), "layer/kernel": torch.ones(2)}, "optimizer": {"w": torch.ones(2)}, "step": 1}
    torch.save(state, tmp_path / "run.pt")
    made, done = cast(tmp_path / "run.pt", "w=bf16", "*/kernel=f16")
    assert made["model"]["w"].dtype is torch.bfloat16 and made["model"]["layer/kernel"].dtype is torch.float16
    assert made["optimizer"]["w"].dtype is torch.float32 and done.uncast[0].component == "optimizer"


@pytest.mark.parametrize(
    ("dtypes", "kept"), [(["bf16"], True), (["*scale*=bf16"], True), (["l.weight_scale=bf16"], False)]
)
def test_a_scale_is_cast_by_its_exact_name_only(tmp_path, dtypes, kept):
    tensors = {
        "l.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
        "l.weight_scale": torch.ones(1),
        "n.scale": torch.ones(4),
    }
    save_file(tensors, tmp_path / "m.safetensors")
    done = ckpt_core.convert(str(tmp_path / "m.safetensors"), str(tmp_path / "x.safetensors"), dtypes=dtypes)
    made = load_file(tmp_path / "x.safetensors")
    assert made["l.weight_scale"].dtype is (torch.float32 if kept else torch.bfloat16)
    assert made["n.scale"].dtype is (torch.bfloat16 if kept else torch.float32), "a norm's scale is a weight"
    assert [one.names for one in done.uncast] == [("weight_scale",)] * kept
    seal = json.loads((tmp_path / "x.safetensors.ckpt.json").read_text())
    assert ("uncast" in seal["provenance"]) is kept
    codes = [finding.code for finding in ckpt_core.verify(str(tmp_path / "x.safetensors")).report.findings]
    assert codes == ["CA007"] * kept


def test_a_config_says_the_type_of_the_weights_and_not_that_of_the_scales(tmp_path):
    (tmp_path / "m").mkdir()
    tensors = {
        "l.qweight": torch.zeros(4, 4, dtype=torch.int32),
        "l.scales": torch.ones(64, 64).half(),
        "norm.weight": torch.ones(4).half(),
    }
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "m" / "config.json").write_text('{"model_type": "llama", "torch_dtype": "float16"}')
    done = ckpt_core.convert(str(tmp_path / "m"), str(tmp_path / "made"), to="hf", dtypes=["bf16"])
    assert done.report.restated == ("config.torch_dtype",)
    assert json.loads((tmp_path / "made" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert load_file(tmp_path / "made" / "model.safetensors")["l.scales"].dtype is torch.float16


@pytest.mark.parametrize(
    ("dtypes", "lacking"),
    [
        ([], []),
        (["f64"], []),
        (["bf16"], ["model", "ema"]),
        (["optimizer/*=bf16"], ["optimizer"]),
        (["*bias=f16"], ["model", "ema"]),
    ],
)
def test_what_a_cast_took_digits_from_is_not_what_a_run_goes_on_from(trained, dtypes, lacking):
    cast(trained, *dtypes)
    made = str(trained.with_name("made.pt"))
    found = ckpt_core.verify(made, profile=Profile.RESUME).report.assessment
    assert [line.role.label for line in found.lacking] == lacking
    assert found.verdict is (Verdict.PARTIAL if lacking else Verdict.COMPLETE)
    assert ckpt_core.verify(made, profile=Profile.INFERENCE).report.assessment.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("dtype", ["bf16", torch.bfloat16, "bfloat16"])
def test_tensors_in_memory_are_cast_by_the_same_rule(trained, tmp_path, dtype):
    tensors = {"l.weight": torch.ones(4, 4).to(torch.int8), "l.SCB": torch.ones(4), "b": torch.ones(2)}
    save_file(tensors, tmp_path / "m.safetensors")
    loaded = ckpt_core.load(str(tmp_path / "m.safetensors")).to_torch(dtype=dtype)
    assert (loaded["l.SCB"].dtype, loaded["b"].dtype) == (torch.float32, torch.bfloat16)
    moments = ckpt_core.load(str(trained)).to_torch("optimizer", dtype=dtype)
    assert moments["state.0.step"].item() == 1001 and moments["state.0.exp_avg"].dtype is torch.bfloat16
