"""Tensors of minimind's that do not go together are named for a purpose; torch does not load them, or not all."""

import pytest
import torch

import ckpt_core
from ckpt_core import Profile

WHOLE = {
    "dense": {},
    "dense of before the q and k norms": {"qk_norm": False},
    "experts": {"moe": True},
    "a LoRA with its model": {"lora": 4},
    "deeper": {"layers": 3},
}


def errors(path):
    return {f.code for f in ckpt_core.verify(str(path), profile=Profile.INFERENCE).report.findings if f.severity > 1}


def name_of(options):
    return "full_sft_16_moe.pth" if options.get("moe") else "full_sft_16.pth"


@pytest.mark.parametrize("layout", WHOLE)
def test_a_whole_model_breaks_no_law(minimind, tmp_path, layout):
    options = WHOLE[layout]
    path = minimind.save(tmp_path / name_of(options), minimind.tensors(**options))
    found = ckpt_core.verify(str(path), profile=Profile.INFERENCE).report
    assert found.assessment.verdict.value == "COMPLETE"
    assert [finding for finding in found.findings if finding.severity] == []


def longer(name):
    return lambda ts: {n: torch.cat([t, t[:1]]) if n == name else t for n, t in ts.items()}


def without(word):
    return lambda ts: {n: t for n, t in ts.items() if word not in n}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (longer("lm_head.weight"), "LW020"),
        (longer("model.layers.1.mlp.gate_proj.weight"), "LW023"),
        (longer("model.layers.2.mlp.up_proj.weight"), "LW023"),
        (without("layers.1."), "LW003"),
        (without("layers.2.self_attn.k_proj"), "LW004"),
        (without("layers.0.mlp.down_proj"), "LW004"),
    ],
)
def test_tensors_that_do_not_go_together_are_an_error(minimind, tmp_path, change, code):
    tensors = {name: tensor.clone() for name, tensor in minimind.tensors(layers=3).items()}
    path = minimind.save(tmp_path / "full_sft_16.pth", change(tensors))
    assert code in errors(path)
