"""The laws of random states: what passes is taken by the generators themselves, what does not is refused by them."""

import random

import numpy as np
import pytest
import torch

import ckpt_core
from ckpt_core import Profile

WEIGHTS = {"w": torch.ones(2)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0]}]}
CPU, CUDA = torch.get_rng_state(), torch.zeros(16, dtype=torch.uint8)


def verdict(tmp_path, rng, key="rng", profile=Profile.EXACT_RESUME):
    content = {"model": WEIGHTS, "optimizer": OPTIMIZER, "step": 1, "sampler": {"position": 3}, key: rng}
    torch.save(content, tmp_path / "a.pt")
    report = ckpt_core.verify(str(tmp_path / "a.pt"), profile=profile).report
    return [f.code for f in report.findings if f.severity == 2], report.assessment.verdict.value


SOUND = {
    "torch's alone": CPU,
    "transformers": {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": CPU, "cuda": CUDA},
    "several devices": {
        "torch": CPU,
        "cuda": [CUDA, CUDA],
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    },
    "accelerate": {"random_state": random.getstate(), "torch_manual_seed": CPU, "torch_cuda_manual_seed": [CUDA]},
    "megatron": [{"random_rng_state": random.getstate(), "torch_rng_state": CPU, "cuda_rng_state": CUDA}],
    "rows of devices": {"cuda": torch.zeros(2, 16, dtype=torch.uint8)},
    "no device": {"cpu": CPU, "cuda": None},
    "numpy's new generator": {"numpy": np.random.default_rng(0).bit_generator.state},
    "a seed": {"seed": 42, "offset": 7},
    "jax": {"jax_key": np.array([0, 42], dtype=np.uint32)},
}


@pytest.mark.parametrize("case", SOUND)
def test_states_of_the_real_generators_raise_no_alarm(tmp_path, case):
    assert verdict(tmp_path, SOUND[case]) == ([], "COMPLETE")


@pytest.mark.parametrize("key", ["rng_state", "torch_rng_state", "rng_states"])
def test_every_key_of_a_random_state_is_one(tmp_path, key):
    assert verdict(tmp_path, CPU, key=key) == ([], "COMPLETE")


def python_of(words):
    return (3, tuple(random.getstate()[1][:words]), None)


def numpy_of(words):
    return ("MT19937", np.random.get_state()[1][:words], 5, 0, 0.0)


TORCH = {
    "cut": CPU[:100],
    "one byte short": CPU[:-1],
    "cast": CPU.to(torch.int32),
    "cast to floats": CPU.float(),
    "CUDA's in its place": CUDA,
    "empty": CPU[:0],
}


@pytest.mark.parametrize("case", TORCH)
def test_what_torch_refuses_as_a_state_is_an_error(tmp_path, case):
    with pytest.raises((RuntimeError, TypeError)):
        torch.set_rng_state(TORCH[case])
    assert verdict(tmp_path, {"cpu": TORCH[case]})[0] == ["RS005"]
    assert verdict(tmp_path, {"cpu": TORCH[case]}, profile=Profile.RESUME) == ([], "COMPLETE")


@pytest.mark.parametrize("words", [0, 1, 624])
def test_what_python_refuses_as_a_state_is_an_error(tmp_path, words):
    with pytest.raises(ValueError, match="state vector"):
        random.setstate(python_of(words))
    assert verdict(tmp_path, {"python": python_of(words)})[0] == ["RS005"]


@pytest.mark.parametrize("words", [0, 1, 623])
def test_what_numpy_refuses_as_a_state_is_an_error(tmp_path, words):
    with pytest.raises((ValueError, TypeError, IndexError)):
        np.random.RandomState().set_state(numpy_of(words))
    assert verdict(tmp_path, {"numpy": numpy_of(words)})[0] == ["RS005"]


@pytest.mark.parametrize("size", [0, 15, 17, 5056])
def test_cuda_takes_no_other_sizes(tmp_path, size):
    """CUDAGeneratorImpl::set_state wants 16 bytes; there is no device here to ask."""
    assert verdict(tmp_path, {"cuda": [torch.zeros(size, dtype=torch.uint8)]})[0] == ["RS005"]


@pytest.mark.parametrize("nothing", [None, {}, {"python": None, "cpu": None}, [None], {"cuda": [], "cpu": None}])
def test_states_of_nothing_are_absent(tmp_path, nothing):
    assert verdict(tmp_path, nothing) == ([], "PARTIAL")
