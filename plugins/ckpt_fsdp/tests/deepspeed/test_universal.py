"""Universal checkpoints, as DeepSpeed's own converter made them, hold what the partitions they were made of hold."""

import shutil

import pytest

import ckpt_core
from ckpt_core import CorruptError, Depth

ON_THREE = ("deepspeed_save.py", 3)
CASES = ["stage2-bf16", "stage3-bf16"]


@pytest.fixture
def universal(made, tmp_path):
    """`universal(case)`: a copy of the root that the converter made."""

    def copy(case):
        return shutil.copytree(made(*ON_THREE) / case / "universal", tmp_path / case)

    return copy


@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_partitions_it_was_made_of(made, universal, case):
    import torch

    source = ckpt_core.load(f"{made(*ON_THREE) / case / 'ds'}#global_step2")
    mine = ckpt_core.load(str(universal(case)))
    for component in ("model", "optimizer"):
        expected, found = source.to_torch(component), mine.to_torch(component)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert found[name].shape == tensor.shape
            assert torch.equal(found[name], tensor), name
    assert mine.component("optimizer").state == source.component("optimizer").state
    assert mine.manifest.step == 2


@pytest.mark.parametrize("case", CASES)
def test_it_passes_verification(universal, case):
    assert not ckpt_core.verify(str(universal(case)), depth=Depth.BYTES).report.findings


def test_its_pointer_is_not_the_other_one(universal):
    root = universal("stage2-bf16")
    (root / "latest_universal").write_text("global_step9")
    assert [f.code for f in ckpt_core.verify(str(root)).report.findings] == ["ZE002"]


@pytest.mark.parametrize("case", CASES)
def test_a_missing_parameter_is_named(universal, case):
    root = universal(case)
    (root / "global_step2_universal" / "zero" / "mix.weight" / "fp32.pt").unlink()
    found = ckpt_core.verify(str(root)).report.findings
    assert [(f.code, f.tensor) for f in found] == [("CV005", "mix.weight"), ("ZE003", "mix.weight")]


def test_a_parameter_of_too_few_elements_is_an_error(universal):
    import torch

    root = universal("stage3-bf16")
    torch.save(torch.zeros(20), root / "global_step2_universal" / "zero" / "mix.weight" / "fp32.pt")
    with pytest.raises(CorruptError, match=r"20 elements, and mix.weight is of shape \(7, 3\)"):
        ckpt_core.load(str(root))


@pytest.mark.parametrize("name", ["fp32.pt", "exp_avg.pt"])
def test_a_truncated_parameter_is_an_error(universal, name):
    root = universal("stage2-bf16")
    path = root / "global_step2_universal" / "zero" / "mix.weight" / name
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorruptError):
        ckpt_core.load(str(root))
