"""What two checkpoints share and where they differ, across formats, ties and plain state."""

import pytest
import torch
from safetensors.torch import save_file

import ckpt_core


def weights(seed=0):
    torch.manual_seed(seed)
    return {"a.w": torch.randn(20, 30), "a.b": torch.randn(30), "n": torch.arange(4)}


@pytest.fixture
def st(tmp_path):
    def write(name, tensors):
        save_file(tensors, tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture
def pt(tmp_path):
    def write(name, value):
        torch.save(value, tmp_path / name)
        return str(tmp_path / name)

    return write


def test_the_same_weights_in_two_formats_are_identical(st, pt):
    report = ckpt_core.diff(st("a.safetensors", weights()), pt("a.pth", weights()))
    assert report.identical and report.compared == 3


def test_changed_values_are_measured(st):
    second = weights()
    second["a.w"][3, 4] += 0.5
    report = ckpt_core.diff(st("a.safetensors", weights()), st("b.safetensors", second))
    assert [change.name for change in report.changed] == ["a.w"]
    values = report.changed[0].values
    assert values.elements == 1 and values.max_abs == pytest.approx(0.5, rel=1e-5) and 0.99 < values.cosine < 1


def test_a_nan_against_a_number_is_a_difference_without_bound(st):
    second = weights()
    second["a.b"][0] = float("nan")
    report = ckpt_core.diff(st("a.safetensors", weights()), st("b.safetensors", second))
    assert report.changed[0].values.max_abs == float("inf")


def test_equal_values_of_another_type_are_a_difference_of_type(st):
    second = {**weights(), "a.b": weights()["a.b"].double()}
    change = ckpt_core.diff(st("a.safetensors", weights()), st("b.safetensors", second)).changed[0]
    assert change.dtypes == ("F32", "F64") and change.values.max_abs == 0 and change.values.elements == 0


def test_another_shape_is_not_compared_by_value(st):
    second = {**weights(), "a.b": torch.zeros(31)}
    change = ckpt_core.diff(st("a.safetensors", weights()), st("b.safetensors", second)).changed[0]
    assert change.values is None and change.shapes == ((30,), (31,))


def test_tensors_of_one_side_are_named(st):
    second = {**weights(), "extra": torch.randn(2)}
    del second["n"]
    report = ckpt_core.diff(st("a.safetensors", weights()), st("b.safetensors", second))
    assert (report.only_first, report.only_second) == (["model/n"], ["model/extra"]) and not report.identical


def test_a_tied_name_that_one_side_dropped_is_said_and_no_difference(pt, st):
    shared = torch.randn(5, 6)
    tied = {"embed.weight": shared, "lm_head.weight": shared}
    report = ckpt_core.diff(pt("a.pth", tied), st("b.safetensors", {"embed.weight": shared.clone()}))
    assert report.identical and report.tied == {"model/lm_head.weight": "embed.weight"}


def test_an_equal_copy_stands_for_a_dropped_name_too(st):
    shared = torch.randn(5, 6)
    report = ckpt_core.diff(
        st("a.safetensors", {"embed": shared, "head": shared.clone()}), st("b.safetensors", {"embed": shared.clone()})
    )
    assert report.tied == {"model/head": "embed"} and report.identical


def test_plain_state_is_compared_by_path(pt):
    first = {"model": weights(), "optimizer": {"param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}], "state": {}}}
    second = {"model": weights(), "optimizer": {"param_groups": [{"lr": 0.2, "betas": (0.9, 0.99)}], "state": {}}}
    report = ckpt_core.diff(pt("a.pt", first), pt("b.pt", second))
    assert report.state == ["optimizer.param_groups.0.lr"] and not report.identical
    assert ckpt_core.diff(pt("a.pt", first), pt("b.pt", second), state=False).identical


def test_components_of_one_side_are_a_difference(pt):
    report = ckpt_core.diff(pt("a.pt", {"model": weights(), "ema": weights()}), pt("b.pt", {"model": weights()}))
    assert report.components == {"first": ["ema"], "second": []} and not report.identical


def test_nothing_in_common_is_an_error_and_not_identical(pt):
    with pytest.raises(ckpt_core.UsageError, match="nothing was compared"):
        ckpt_core.diff(pt("a.pt", {"ema": weights()}), pt("b.pt", {"optimizer": {"state": {0: weights()}}}))
