"""The step that a checkpoint records: each trainer's counter, of each type that one may have, and of no other."""

import collections

import numpy as np
import pytest
import torch

import ckpt_core
from ckpt_core.layouts.steps import count_of_state, step_of_state

WEIGHTS = {"w": torch.ones(2, 2), "b": torch.ones(2)}
OPTIMIZER = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 2)}}, "param_groups": [{"params": [0]}]}


def saved(tmp_path, content, name="a.pt"):
    torch.save(content, tmp_path / name)
    return ckpt_core.load(str(tmp_path / name)).manifest


TRAINERS = {
    "nanoGPT": ({"model": WEIGHTS, "optimizer": OPTIMIZER, "iter_num": 5000, "best_val_loss": torch.tensor(0.0)}, 5000),
    "rsl_rl": ({"model_state_dict": WEIGHTS, "optimizer_state_dict": OPTIMIZER, "iter": 1500, "infos": None}, 1500),
    "rl_games": ({"model": WEIGHTS, "optimizer": OPTIMIZER, "epoch": 40, "frame": 163840, "env_state": None}, 40),
    "detectron2": (
        {"model": WEIGHTS, "optimizer": OPTIMIZER, "scheduler": {"last_epoch": 7}, "iteration": 89999},
        89999,
    ),
    "mmengine": (
        {"meta": {"epoch": 12, "iter": 87960, "seed": 1}, "state_dict": WEIGHTS, "optimizer": OPTIMIZER},
        87960,
    ),
    "fairseq": (
        {
            "model": WEIGHTS,
            "last_optimizer_state": OPTIMIZER,
            "optimizer_history": [{"optimizer_name": "FairseqAdam", "num_updates": 7000}],
            "extra_state": {"train_iterator": {"epoch": 3, "iterations_in_epoch": 10}},
        },
        7000,
    ),
    "fairseq's extra state": ({"model": WEIGHTS, "extra_state": {"num_updates": 800, "epoch": 2}}, 800),
    "timm": (
        {"epoch": 9, "arch": "vit", "state_dict": WEIGHTS, "optimizer": OPTIMIZER, "version": 2, "metric": 0.5},
        9,
    ),
    "OpenCLIP": ({"epoch": 5, "name": "run", "state_dict": WEIGHTS, "optimizer": OPTIMIZER}, 5),
    "ultralytics, under way": ({"epoch": 12, "best_fitness": 0.5, "model": WEIGHTS, "optimizer": OPTIMIZER}, 12),
    "ultralytics, finished": ({"epoch": -1, "best_fitness": None, "model": WEIGHTS, "optimizer": None}, None),
    "VITS": ({"model": WEIGHTS, "iteration": 300, "optimizer": OPTIMIZER, "learning_rate": 1e-4}, 300),
    "the commonest": ({"model": WEIGHTS, "optimizer": OPTIMIZER, "epoch": 3, "loss": torch.tensor(0.1)}, 3),
    "a step before an epoch": ({"epoch": 3, "model": WEIGHTS, "step": 77}, 77),
    "our own": ({"model": WEIGHTS, "progress": {"step": 8, "epoch": 1}}, 8),
}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_each_trainers_counter_is_the_step(tmp_path, trainer):
    content, step = TRAINERS[trainer]
    assert saved(tmp_path, content).step == step


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_counter_and_a_metric_beside_the_weights_are_no_models(tmp_path, trainer):
    held = saved(tmp_path, TRAINERS[trainer][0])
    assert [c.label for c in held.components if c.kind == "model"] == ["model"]


TYPES = {
    "int": 1001,
    "float": 1001.0,
    "tensor": torch.tensor(1001),
    "float tensor": torch.tensor(1001.0),
    "double tensor": torch.tensor(1001.0, dtype=torch.float64),
    "int32 tensor": torch.tensor(1001, dtype=torch.int32),
    "tensor of one": torch.tensor([1001]),
    "numpy int": np.int64(1001),
    "numpy float": np.float32(1001),
    "numpy array": np.array(1001),
    "numpy array of one": np.array([1001]),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_step_is_read_whatever_holds_the_number(tmp_path, kind, legacy):
    content = {"model": WEIGHTS, "optimizer": OPTIMIZER, "step": TYPES[kind]}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    assert ckpt_core.load(str(tmp_path / "a.pt")).manifest.step == 1001


@pytest.mark.parametrize("wrong", ["100", True, False, 10.5, float("nan"), float("inf"), b"7"])
def test_a_step_of_another_type_is_said_and_not_guessed(tmp_path, wrong):
    held = saved(tmp_path, {"model": WEIGHTS, "step": wrong, "epoch": 3})
    assert held.step is None
    count = count_of_state({"step": wrong, "epoch": 3})
    assert count.key == "step" and "where a number of steps belongs" in count.problem


@pytest.mark.parametrize("nothing", [None, -1, {"a": 1}, [], torch.ones(3), collections.OrderedDict()])
def test_what_counts_nothing_is_no_step_and_the_next_counter_is_asked(tmp_path, nothing):
    assert saved(tmp_path, {"model": WEIGHTS, "step": nothing, "epoch": 3}).step == 3
    assert saved(tmp_path, {"model": WEIGHTS, "step": nothing}).step is None


def test_what_is_nested_deeper_than_trainers_nest_is_not_looked_at():
    deep = {"step": 5}
    for _ in range(5):
        deep = {"meta": deep}
    assert step_of_state(deep) is None
    assert step_of_state({"config": {"step": 5}}) is None


def test_a_key_of_either_case_counts():
    assert step_of_state({"Epoch": 4}) == 4
