"""One Checkpointer, several formats: each is resumed exactly, and is what its own software reads."""

import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp

import ckpt_core
from ckpt_core.errors import UsageError
from ckpt_core.training import Checkpointer
from tests.training.small_training import checkpointer, differing, training


def test_a_training_saved_as_dcp_is_resumed_exactly_and_read_by_torch(tmp_path):
    plain = training("torch").run(5)
    first = training("torch")
    with checkpointer(tmp_path / "run", first, save_every=1, keep=1, format="dcp") as saver:
        first.run(3, saver)
    place = tmp_path / "run" / "checkpoint-3"
    assert ckpt_core.load(str(place)).match.format == "dcp"
    held = {f"model.{name}": torch.zeros_like(tensor) for name, tensor in first.model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of being one process
        dcp.load(held, checkpoint_id=str(place), no_dist=True)
    assert all(held[f"model.{name}"].equal(tensor) for name, tensor in first.model.state_dict().items())
    second = training("torch", seed=99)
    with checkpointer(tmp_path / "run", second, save_every=1, keep=1) as saver:
        second.step = saver.resume("required").step
        second.run(5, saver)
    assert first.losses + second.losses == plain.losses
    assert differing(second.state(), plain.state()) == []


@pytest.mark.parametrize("name", ["hf", "safetensors", "nonsense"])
def test_a_format_that_holds_no_training_is_refused_before_step_1(name, tmp_path):
    with pytest.raises(UsageError, match=f"format='?{name}'?: cannot hold a training; those that can are bundle, dcp"):
        Checkpointer(tmp_path / "run", model=torch.nn.Linear(2, 2), format=name)
    assert not (tmp_path / "run").exists()
