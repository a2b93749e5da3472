"""A mixture of experts as DeepSpeed saves it: every expert's weights, and a lost one an error."""

import re

import pytest
import torch

import ckpt_core

STAGES = (0, 1)
EXPERT = re.compile(r"(?<=deepspeed_experts\.)\d+")


@pytest.fixture(scope="session")
def saved(made):
    return {stage: made("deepspeed_experts.py", 2, stage) for stage in STAGES}


def whole(folder):
    """The weights of all ranks, experts under the numbers that they have in the whole model."""
    found = {}
    for rank, state in enumerate(torch.load(folder / "ranks.pt")):
        for name, tensor in state.items():
            found[EXPERT.sub(lambda local, rank=rank: str(int(local[0]) + 2 * rank), name)] = tensor
    return found


def errors(place):
    found = ckpt_core.verify(str(place)).report.findings
    return {(f.code, f.component) for f in found if f.severity is ckpt_core.Severity.ERROR}


@pytest.mark.parametrize("stage", STAGES)
def test_every_expert_is_what_its_rank_had(saved, stage):
    checkpoint = ckpt_core.load(str(saved[stage] / "run"))
    found, expected = checkpoint.to_torch("model"), whole(saved[stage])
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    labels = [component.label for component in checkpoint.manifest.components]
    assert labels[:3] == ["model", "optimizer:0", "optimizer:1"]
    assert checkpoint.manifest.step == 2
    assert errors(saved[stage] / "run") == set()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("layer", "expert"), [(0, 0), (0, 3), (1, 2), (1, 3)])
def test_a_lost_expert_is_an_error_and_nothing_is_written(saved, copy_of, tmp_path, stage, layer, expert):
    run = copy_of(saved[stage] / "run")
    (run / f"global_step2/layer_{layer}_expert_{expert}_mp_rank_00_model_states.pt").unlink()
    assert errors(run) == {("PT009", "model")}
    with pytest.raises(ckpt_core.CorruptError, match=f"expert {expert} of layer {layer}"):
        ckpt_core.convert(str(run), str(tmp_path / "out.safetensors"), components=["model"])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_part_of_the_optimizer_is_an_error_and_the_model_is_converted(saved, copy_of, tmp_path, rank):
    run = copy_of(saved[1] / "run")
    (run / f"global_step2/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").unlink()
    assert errors(run) == {("PT009", f"optimizer:{rank}")}
    ckpt_core.convert(str(run), str(tmp_path / "out.safetensors"), components=["model"])


def test_a_broken_expert_is_not_called_missing(saved, copy_of):
    run = copy_of(saved[0] / "run")
    path = run / "global_step2/layer_0_expert_1_mp_rank_00_model_states.pt"
    path.write_bytes(path.read_bytes()[:300])
    found = ckpt_core.verify(str(run)).report.findings
    assert {f.path for f in found if f.severity is ckpt_core.Severity.ERROR} == {f"global_step2/{path.name}"}
    assert "PT009" not in {f.code for f in found}


def test_without_what_all_ranks_share_nothing_is_opened(saved, copy_of):
    run = copy_of(saved[0] / "run")
    (run / "global_step2/mp_rank_00_model_states.pt").unlink()
    with pytest.raises(ckpt_core.CorruptError, match="mp_rank_00_model_states"):
        ckpt_core.load(str(run))
