"""The step that a name claims: every trainer's way to write one is read back, and other numbers are no steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.layouts.step_names import epoch_of_name, step_of_name, step_of_path

WAYS = {
    "transformers": "checkpoint-{}",
    "a word behind": "step-{}-final",
    "accelerate": "step_{}",
    "deepspeed": "global_step{}",
    "verl": "global_step_{}/actor",
    "litgpt": "iter-{}-ckpt.pth",
    "megatron": "iter_{:07d}",
    "mmengine": "iter_{}.pth",
    "lightning": "epoch=1-step={}.ckpt",
    "lightning, a metric behind": "epoch=3-step={}-val_loss=0.25-v1.ckpt",
    "lerobot": "checkpoints/{:07d}/pretrained_model",
    "bagel": "{:07d}",
    "a file that is a number": "{}.pt",
    "stable-baselines3": "rl_model_{}_steps.zip",
    "guided diffusion": "ema_0.9999_{:06d}.pt",
    "fairseq": "checkpoint_1_{}.pt",
    "rsl_rl": "model_{}.pt",
    "timm": "checkpoint-{}.pth.tar",
    "openclip": "epoch_{}.pt",
    "a numbered parent": "checkpoint-{}/pytorch_model.bin",
    "a numbered grandparent": "step_{}/actor/model.safetensors",
}


@pytest.mark.parametrize("way", WAYS)
@given(step=st.integers(1, 10**7))
def test_a_step_is_read_out_of_every_way_to_write_it(way, step):
    assert step_of_path(WAYS[way].format(step)) == step


@pytest.mark.parametrize("way", WAYS)
@given(steps=st.sets(st.integers(1, 10**7), min_size=2))
def test_the_order_of_the_names_is_the_order_of_the_steps(way, steps):
    names = [WAYS[way].format(step) for step in sorted(steps)]
    assert sorted(sorted(names), key=step_of_path) == names


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("0900000", 900000),
        ("checkpoint-100-final", 100),
        ("step_100k.pt", 100_000),
        ("ckpt-2M", 2_000_000),
        ("epoch=1-step=8.ckpt", 8),
        ("step_9/epoch_1.pt", 1),
        ("best/model.pt", None),
        ("checkpoint_best.pt", None),
        ("checkpoint_last.pt", None),
        ("last-v1.ckpt", None),
        ("model_best.pth.tar", None),
    ],
)
def test_what_stands_around_the_number_is_not_the_step(path, step):
    assert step_of_path(path) == step


@pytest.mark.parametrize(
    "name",
    [
        "full_sft_512.pth",
        "model-00001-of-00002.safetensors",
        "mp_rank_00",
        "ckpt-7b",
        "llama-13b.pth",
        "resnet50.pth",
        "unit5.pt",
        "checkpoint-1.5",
        "20240105",
        "20240105103000",
        "checkpoint-2024-01-05",
        "ckpt_20240105.pt",
        "run_20240105_103000.pt",
        "version_0",
        "run_3",
        "zero_pp_rank_0_mp_rank_00_optim_states.pt",
    ],
)
def test_a_number_that_counts_something_else_is_no_step(name):
    assert step_of_path(name) is None


def test_an_epoch_is_no_step_for_who_compares_it_with_one_that_is_recorded():
    assert (step_of_name("epoch_5.pt"), epoch_of_name("epoch_5.pt")) == (None, 5)
    assert [epoch_of_name(name) for name in ("ep10.pt", "10epoch.pth", "epoch=03-acc=0.9.ckpt", "deep5.pt")] == [
        10,
        10,
        3,
        None,
    ]
