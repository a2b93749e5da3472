"""A training on the local disk whose checkpoints are published as artifacts in the background."""

import pytest
import torch

from ckpt_core import load, locate
from ckpt_core.training import Checkpointer, state_dict


@pytest.mark.long
def test_each_checkpoint_is_a_version_and_a_training_goes_on_from_it_elsewhere(project, tmp_path):
    model = torch.nn.Linear(3, 2)
    place = project.url("checkpoint-1").rpartition("/")[0]
    with Checkpointer(tmp_path / "here", model=model, upload_to=place, keep=1) as saver:
        saver.save(1)
    assert load(project.url("checkpoint-1")).match.format == "bundle"
    assert state_dict(project.url("checkpoint-1"))["weight"].equal(model.weight)
    with Checkpointer(tmp_path / "here", model=model, upload_to=place) as saver:
        saver.resume()
    latest = locate(project.url("checkpoint-1:latest")).require().url
    assert latest == project.url("checkpoint-1:v0"), "what is there was published again"
    other = torch.nn.Linear(3, 2)
    with Checkpointer(tmp_path / "elsewhere", model=other) as saver:
        assert saver.resume(project.url("checkpoint-1")).step == 1
    assert other.weight.equal(model.weight)
