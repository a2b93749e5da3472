"""`ckpt diff`: the same or not, and where not."""

import json


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
