"""A training killed at any call while it saves and uploads: each tier has whole ones only, and the rest follows."""

import os
import shutil

import pytest
import torch

from ckpt_core.training import Checkpointer
from ckpt_core.verbs.verify import verify
from tests.integration.crash.os_calls import Fault, Stopper, in_child, intercept

torch.set_num_threads(1)


def train(folder, step):
    model = torch.nn.Linear(3, 2)
    with Checkpointer(folder / "fast", model=model, keep=1, upload_to=str(folder / "slow"), keep_far=1) as saver:
        saver.resume()
        model.weight.data.fill_(step)
        saver.save(step)


def stopped(folder, fault):
    def work():
        stopper = Stopper(fault)
        intercept(stopper)
        train(folder, 2)
        return stopper.names

    return in_child(work)


def steps(place):
    found = os.listdir(place) if place.is_dir() else []
    return sorted(int(name[11:]) for name in found if name.startswith("checkpoint-"))


def kills(names):
    return range(len(names) // 3, len(names) + 1, 30)


@pytest.mark.parametrize(
    "which", [kills, pytest.param(lambda names: range(1, len(names) + 1), marks=pytest.mark.long)], ids=["some", "all"]
)
def test_what_is_in_either_tier_is_whole_and_the_next_run_uploads_the_rest(which, tmp_path):
    train(tmp_path / "before", 1)
    shutil.copytree(tmp_path / "before", tmp_path / "undisturbed")
    names = stopped(tmp_path / "undisturbed", None).value
    for number in which(names):
        folder = tmp_path / "run"
        shutil.copytree(tmp_path / "before", folder)
        ending = stopped(folder, Fault(number, "before"))
        assert ending.killed or ending.well
        for tier in ("fast", "slow"):
            for step in steps(folder / tier):
                assert verify(str(folder / tier / f"checkpoint-{step}"), depth="bytes").report.ok, (number, tier, step)
        assert max(steps(folder / "fast")) in (1, 2) and max(steps(folder / "slow")) in (1, 2)
        train(folder, 3)
        assert steps(folder / "fast") == [3] and steps(folder / "slow") == [3]
        assert not [name for name in os.listdir(folder / "slow") if "stage" in name or "removed" in name]
        shutil.rmtree(folder)
