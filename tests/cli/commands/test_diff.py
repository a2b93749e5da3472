"""`ckpt diff`: the same or not, and where not."""

import json

import pytest
import torch


def test_the_same_weights_in_two_formats_are_identical(ckpt, files):
    done = ckpt("diff", files / "weights.safetensors", files / "weights.pth")
    assert done == (0, "identical  (2 tensors compared)\n", "")


def test_differences_are_shown_by_tensor_and_end_with_1(ckpt, files):
    done = ckpt("diff", files / "weights.safetensors", files / "changed.safetensors")
    assert done.code == 1
    assert [line.split() for line in done.out.splitlines()] == [
        ["different", "(1", "tensor", "compared)"],
        ["tensor", "dtype", "shape", "elements", "max", "abs", "max", "rel", "cosine"],
        ["embed.weight", "F32", "3x4", "12", "0.5", "1", "0.999262"],
        ["only", "in", "A:", "norm.weight"],
        ["only", "in", "B:", "extra"],
        [
            "in",
            "all:",
            "1",
            "of",
            "1",
            "tensor",
            "differ,",
            "1",
            "tensor",
            "only",
            "in",
            "A,",
            "1",
            "tensor",
            "only",
            "in",
            "B",
        ],
    ]


def test_a_change_of_type_is_shown(ckpt, files):
    done = ckpt("diff", files / "weights.safetensors", files / "nan.safetensors")
    assert done.code == 1
    assert "BF16 -> F32" in done.out
    assert "inf" in done.out


def test_a_tied_name_is_said_and_is_no_difference(ckpt, files):
    done = ckpt("diff", files / "tied.pth", files / "weights.safetensors")
    assert done == (0, "identical; head.weight absent, equals embed.weight  (2 tensors compared)\n", "")
    assert ckpt("diff", "-q", files / "tied.pth", files / "weights.safetensors").out == (
        "identical; head.weight absent, equals embed.weight\n"
    )


def test_plain_state_that_differs_is_named(ckpt, files):
    done = ckpt("diff", files / "training.pth", files / "slower.pth")
    assert done.code == 1
    assert "state differs: optimizer.param_groups.0.lr" in done.out


def test_component_compares_that_one_only(ckpt, files):
    assert ckpt("diff", files / "training.pth", files / "slower.pth", "--component", "model").code == 0
    assert ckpt("diff", files / "training.pth", files / "slower.pth", "--component", "optimizer").code == 1


def test_quiet_prints_the_verdict_only(ckpt, files):
    done = ckpt("diff", "-q", files / "weights.safetensors", files / "changed.safetensors")
    assert done == (1, "different\n", "")


def test_hints_and_format_hold_for_both(ckpt, files, plugins):
    done = ckpt("diff", "a", "b", "--hint", f"shelf={files}/weights.pth", cwd=files, PYTHONPATH=plugins)
    assert done == (0, "identical  (2 tensors compared)\n", "")
    forced = ckpt("diff", files / "weights.pth", files / "weights.pth", "--format", "safetensors")
    assert forced.code == 4


def test_json_has_no_bare_nan(ckpt, files):
    done = ckpt("diff", "--json", files / "weights.safetensors", files / "nan.safetensors")

    def refuse(token):
        raise AssertionError(token)

    content = json.loads(done.out, parse_constant=refuse)
    assert content["ref"] == [f"{files}/weights.safetensors", f"{files}/nan.safetensors"]
    assert content["result"]["identical"] is False
    assert content["result"]["changed"][0]["values"]["max_abs"] == "Infinity"
    assert content["result"]["only_in_a"] == []


def test_two_refs_are_needed(ckpt, files):
    done = ckpt("diff", files / "weights.pth")
    assert done.code == 2
    assert "Missing argument 'B'" in done.err


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Three checkpoints of a training: before the optimizer had a state, after one step, after two."""
    folder = tmp_path_factory.mktemp("steps")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(3):
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, folder / f"{step}")
        model(torch.ones(4)).sum().backward()
        optimizer.step()
    return folder


def test_keys_of_the_optimizer_stand_once(ckpt, steps):
    lines = ckpt("diff", steps / "0", steps / "1").out.splitlines()
    assert [line for line in lines if "state.0" in line] == [
        f"only in B: optimizer/state.0.{name}" for name in ("step", "exp_avg", "exp_avg_sq")
    ]
    assert [line for line in lines if line.startswith("state differs")] == ["state differs: progress.step"]
    assert lines[-1] == "in all: 4 of 4 tensors differ, 12 tensors only in B, 1 of the plain state"


def test_a_limit_counts_what_it_leaves_out_and_the_summary_counts_all(ckpt, steps):
    whole = ckpt("diff", steps / "1", steps / "2").out.splitlines()
    cut = ckpt("diff", steps / "1", steps / "2", "--limit", "2").out.splitlines()
    assert whole[-1] == cut[-1] == "in all: 16 of 16 tensors differ (model 4, optimizer 12), 1 of the plain state"
    assert len(whole) == 2 + 16 + 2
    assert cut[1:5] == [cut[1], cut[2], cut[3], "… and 14 more; --limit 0 shows all"]
    assert ckpt("diff", steps / "1", steps / "2", "--limit", "0").out.splitlines() == whole
    assert (
        len(json.loads(ckpt("diff", steps / "1", steps / "2", "--limit", "2", "--json").out)["result"]["changed"]) == 16
    )


def test_a_tensor_where_the_other_has_a_number_is_a_difference(ckpt, tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "optimizer": {"state": {0: {"step": torch.ones(())}}}}, tmp_path / "a")
    torch.save({"model": {"w": torch.ones(2)}, "optimizer": {"state": {0: {"step": 1}}}}, tmp_path / "b")
    done = ckpt("diff", tmp_path / "a", tmp_path / "b")
    assert done.code == 1
    assert "state differs: optimizer.state.0.step" in done.out
