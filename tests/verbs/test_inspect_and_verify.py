"""What inspect counts, what verify finds, and what neither may say of nothing."""

import json

import pytest
import torch
from safetensors.torch import save_file

import ckpt_core
from ckpt_core import Depth


def codes(report):
    return {finding.code for finding in report.findings}


def test_totals_count_aliases_once(tmp_path):
    shared = torch.randn(4, 5)
    torch.save({"a": shared, "b": shared, "c": torch.zeros(3, dtype=torch.int64)}, tmp_path / "x.pth")
    totals = ckpt_core.inspect(str(tmp_path / "x.pth")).totals["model"]
    assert (totals.tensors, totals.aliases, totals.parameters, totals.nbytes) == (3, 1, 23, 20 * 4 + 3 * 8)
    assert totals.by_dtype == {"F32": 20, "I64": 3}


def test_a_directory_of_several_files_is_listed_and_one_can_be_picked(tmp_path):
    for name in ("one.safetensors", "two.safetensors"):
        save_file({name[:3]: torch.zeros(2)}, tmp_path / name)
    found = ckpt_core.inspect(str(tmp_path))
    assert found.checkpoint is None and [match.root for match in found.members] == [
        "one.safetensors",
        "two.safetensors",
    ]
    assert list(ckpt_core.load(f"{tmp_path}#two.safetensors").component().tensors) == ["two"]
    with pytest.raises(ckpt_core.UsageError, match="holds 2 checkpoints"):
        ckpt_core.load(str(tmp_path))
    with pytest.raises(ckpt_core.UsageError, match=r"it holds one\.safetensors, two\.safetensors"):
        ckpt_core.load(f"{tmp_path}#three")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2])
def test_nan_is_an_error_and_infinity_a_warning(tmp_path, dtype):
    bad = torch.zeros(1000)
    bad[7], bad[8] = float("nan"), float("inf")
    save_file({"good": torch.ones(5), "bad": bad.to(dtype)}, tmp_path / "x.safetensors")
    report = ckpt_core.verify(str(tmp_path / "x.safetensors"), depth=Depth.VALUES).report
    found = {finding.code: finding for finding in report.findings}
    assert found["VL001"].tensor == "bad" and "1 of 1000" in found["VL001"].message and not report.ok
    assert found["VL002"].severity.name == "WARNING"
    assert ckpt_core.verify(str(tmp_path / "x.safetensors"), depth=Depth.BYTES).report.ok


def test_infinity_alone_is_not_an_error(tmp_path):
    save_file({"mask": torch.full((4,), float("-inf"))}, tmp_path / "x.safetensors")
    report = ckpt_core.verify(str(tmp_path / "x.safetensors"), depth=Depth.VALUES).report
    assert report.ok and "VL002" in codes(report)


def test_a_checkpoint_of_nothing_is_not_fine(tmp_path):
    save_file({}, tmp_path / "x.safetensors")
    report = ckpt_core.verify(str(tmp_path / "x.safetensors")).report
    assert not report.ok and codes(report) == {"CK007"}


def test_damage_is_reported_and_not_raised(tmp_path):
    save_file({"a": torch.ones(50)}, tmp_path / "x.safetensors")
    data = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(data[:-3])
    found = ckpt_core.verify(str(tmp_path / "x.safetensors"))
    assert codes(found.report) == {"ST007"} and found.report.findings[0].tensor == "a"
    assert found.report.checked_tensors == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CK010"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "CK011"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "CK012"),
        (b"\0" * 5000, "CK013"),
    ],
)
def test_what_only_has_the_name_of_a_checkpoint_is_told(tmp_path, content, code):
    for name in ("x.safetensors", "x.pth", "x"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ckpt_core.CorruptError) as caught:
            ckpt_core.load(str(tmp_path / name))
        assert caught.value.code == code


def test_an_unknown_option_names_the_formats_that_have_it(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ckpt_core.UsageError, match=r"formats that have it: .*hf"):
        ckpt_core.load(str(tmp_path / "x.safetensors"), options={"variant": "fp16"})


def test_statistics_of_a_tensor_equal_torch(tmp_path):
    from ckpt_core.reading.statistics import statistics

    values = torch.randn(3000).bfloat16()
    values[5] = float("inf")
    save_file({"a": values}, tmp_path / "x.safetensors")
    found = statistics(ckpt_core.load(str(tmp_path / "x.safetensors")), "model", "a")
    finite = values[values.isfinite()].double()
    assert (found.minimum, found.maximum) == (finite.min().item(), finite.max().item())
    assert found.mean == pytest.approx(finite.mean().item()) and found.inf == 1 and found.nan == 0
    json.dumps(found.as_dict(), allow_nan=False)
