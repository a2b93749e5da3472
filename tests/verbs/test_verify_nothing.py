"""Nothing is never called fine: what holds no tensor fails, whatever else is in it."""

import pytest
import torch

import ckpt_core


@pytest.mark.parametrize(
    "content",
    [
        {"step": 5},
        {"last_epoch": 3, "_step_count": 4},
        {"model": {}, "epoch": 1},
        {"model": "llama", "config": {"hidden": 64}},
        {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        {"optimizer": None, "model": None, "epoch": 3},
    ],
)
@pytest.mark.parametrize("profile", [None, *ckpt_core.Profile])
def test_what_has_no_tensor_is_never_ok(tmp_path, content, profile):
    torch.save(content, tmp_path / "a.pt")
    report = ckpt_core.verify(str(tmp_path / "a.pt"), profile=profile).report
    assert report.checked_tensors == 0
    assert not report.ok or report.assessment.verdict.value != "COMPLETE"


def test_it_says_that_there_is_no_tensor_and_what_to_name(tmp_path):
    torch.save({"last_epoch": 3}, tmp_path / "scheduler.pt")
    (finding,) = [f for f in ckpt_core.verify(str(tmp_path / "scheduler.pt")).report.findings if f.severity == 2]
    assert (finding.code, finding.hint) == ("RS001", "name the checkpoint that it is a part of")
    assert "only plain state" in finding.message
